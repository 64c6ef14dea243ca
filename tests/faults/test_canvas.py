"""Chains, groups and chords whose workers are killed between their links."""

import random
import time

import pytest
from celery import chain, chord, group

from tests.lab.lab import Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually


def test_every_id_of_a_chain_is_known_before_its_turn(lab: Lab) -> None:
    record, link = lab.app.tasks["lab.record"], lab.app.tasks["lab.link"]
    result = chain(record.s("a"), link.s("b"), link.s("c")).apply_async()
    ids = [result.parent.parent.id, result.parent.id, result.id]
    assert [lab.job(job_id).state for job_id in ids] == ["PENDING"] * 3
    lab.worker("w1")
    eventually(lambda: lab.job(result.id).result, lambda value: value == "a>b>c")
    assert account("abc", lab.effects()) == EXACT


@pytest.mark.timeout(120)
def test_kills_between_the_links_lose_and_double_nothing(lab: Lab) -> None:
    record, link, gather = (lab.app.tasks[f"lab.{name}"] for name in ("record", "link", "gather"))
    chance = random.Random(2)
    keys: list[str] = []
    for number in range(20):
        names = [f"chain-{number}-{letter}" for letter in "abc"]
        chain(record.s(names[0], 0.05), link.s(names[1]), link.s(names[2])).apply_async()
        members = [f"chord-{number}-{letter}" for letter in "abc"]
        chord([record.s(member, 0.05) for member in members])(gather.s(f"chord-{number}"))
        keys += [*names, *members, f"chord-{number}"]
        group(record.s(f"group-{number}-{letter}") for letter in "ab").apply_async()
        keys += [f"group-{number}-{letter}" for letter in "ab"]
    workers = {name: lab.worker(name, wait=False, max_crashes=100) for name in ("w1", "w2")}
    for _ in range(4):
        time.sleep(1.5)
        name = chance.choice(list(workers))
        workers[name].kill()
        workers[name] = lab.worker(name, wait=False, max_crashes=100)
    eventually(lambda: account(keys, lab.effects()).lost, lambda lost: not lost, timeout=60, every=0.3)
    assert account(keys, lab.effects()) == EXACT
    eventually(lambda: set(lab.states()), lambda states: states == {"SUCCESS"})
