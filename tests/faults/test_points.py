"""A process is killed at every named fault point; the points are found in the source, so none can be forgotten."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery, chain

import trilho
from tests.faults import test_events, test_kafka_relay, test_sagas, test_slices
from tests.lab import processes
from tests.lab.lab import Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.lab.worker import Worker

SOURCE = Path(trilho.__file__).parent
POINT = re.compile(r"""\bhit\(\s*"([a-z_.]+)"\s*\)""")
POINTS = sorted({point for file in SOURCE.rglob("*.py") for point in POINT.findall(file.read_text())})
AHEAD = "enqueue.ahead_of_commit"
IN_CLIENTS = [point for point in POINTS if point.startswith("enqueue.") and point != AHEAD]
ADOPTING = [point for point in POINTS if point.startswith("adopt.")]
OF_SAGAS = [point for point in POINTS if point.startswith("saga.")]
OF_EVENTS = [point for point in POINTS if point.startswith(("relay.", "consume."))]
OF_SLICES = [point for point in POINTS if point.startswith(("write_behind.", "take_back.", "give_back."))]
OF_ADMINISTRATION = [point for point in POINTS if point.startswith("reset.")]
ELSEWHERE = [AHEAD, *IN_CLIENTS, *ADOPTING, *OF_EVENTS, *OF_SAGAS, *OF_SLICES, *OF_ADMINISTRATION]
IN_WORKERS = [point for point in POINTS if point not in ELSEWHERE]


def produce(lab: Lab, key: str, fault: str, *how: str) -> int:
    """Run the program that saves a row and enqueues a job; its exit code."""
    command = [sys.executable, "-m", "tests.faults.apps.producer", key, *how]
    environment = {**os.environ, **lab.environment(fault=fault)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=30).returncode


@pytest.mark.parametrize("point", IN_CLIENTS)
def test_client_killed_while_it_enqueues_leaves_row_and_job_or_neither(lab: Lab, point: str) -> None:
    assert produce(lab, "healthy", "") == 0
    assert produce(lab, "killed", f"{point}=kill") == -9
    ((rows,),) = lab.query("SELECT value FROM counters WHERE name = 'a'")
    jobs = sum(lab.states().values())
    assert rows == jobs == (1 if "before" in point else 2)
    assert produce(lab, "alone", f"{point}=kill", "alone") == -9
    durable = ["healthy"] if "before" in point else ["healthy", "killed", "alone"]
    assert sum(lab.states().values()) == len(durable)
    lab.worker("w1")
    lab.all_succeed(len(durable))
    assert account(durable, lab.effects()) == EXACT


def test_client_killed_between_a_wakeup_and_its_commit_leaves_every_job_to_run_once(lab: Lab) -> None:
    assert produce(lab, "job", f"{AHEAD}=kill@3", "stream") == -9
    durable = eventually(lambda: lab.query("SELECT args::json ->> 0 FROM trilho.jobs"), lambda rows: len(rows) >= 3)
    keys = [key for (key,) in durable]
    assert sorted(keys) == sorted(f"job-{number}" for number in range(len(keys)))
    lab.worker("w1")
    lab.all_succeed(len(keys))
    assert account(keys, lab.effects()) == EXACT


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", IN_WORKERS)
def test_worker_killed_at(lab: Lab, point: str) -> None:
    victim = lab.worker("victim", concurrency=1)
    lab.send("record", "orphan", 30.0)
    lab.began("orphan")
    passes = 1 if point.startswith("claim.") else 2  # one claim may be all that a process needs
    faulty = lab.worker("faulty", fault=f"{point}=kill@{passes}", max_crashes=100, concurrency=2)
    pool = {process.pid for process in faulty.pool()}
    keys = load(lab)
    victim.kill()
    eventually(lambda: hurt(faulty, pool), timeout=15)
    lab.worker("healthy", max_crashes=100)
    faulty.end()
    eventually(lambda: account(keys, lab.effects()).lost, lambda lost: not lost, timeout=30)
    assert account(keys, lab.effects()) == EXACT
    eventually(lambda: set(lab.states()), lambda states: states == {"SUCCESS"})


def test_points_of_events_are_those_of_their_own_tests() -> None:
    assert sorted(OF_EVENTS) == sorted([*test_events.RELAY, *test_events.CONSUME, *test_kafka_relay.POINTS])


def test_points_of_sagas_are_those_of_their_own_tests() -> None:
    assert OF_SAGAS == test_sagas.POINTS


def test_points_of_slices_are_those_of_their_own_tests() -> None:
    assert sorted(OF_SLICES) == sorted([*test_slices.OF_A_LONG_BODY, *test_slices.OF_AN_OLD_SLICE])


@pytest.mark.parametrize("point", ADOPTING)
def test_worker_killed_while_it_adopts_a_plain_message_at(lab: Lab, point: str) -> None:
    faulty = lab.worker("faulty", fault=f"{point}=kill")
    with Celery("stock", broker=lab.broker_url, set_as_current=False) as stock:
        stock.send_task("lab.record", args=["adopted"])
    faulty.wait()
    lab.worker("healthy")
    lab.all_succeed(1)
    assert account(["adopted"], lab.effects()) == EXACT


def load(lab: Lab) -> list[str]:
    """Work of every kind; the keys of the effects that it must have."""
    keys = [f"job-{number}" for number in range(10)]
    lab.send_many("record", keys, 0.05)
    for number in range(4):
        lab.send("flaky", f"flaky-{number}", 2, 0.2)
    effect, record, link = (lab.app.tasks[f"lab.{name}"] for name in ("effect", "record", "link"))
    for number in range(4):
        chain(record.s(f"first-{number}"), link.s(f"second-{number}")).apply_async()
        chain(effect.s(f"plain-{number}"), link.s(f"after-{number}")).apply_async()
    several = [f"{name}-{number}" for name in ("flaky", "first", "second", "after") for number in range(4)]
    return ["orphan", *keys, *several]


def hurt(worker: Worker, pool: set[int]) -> bool:
    """Whether the fault has struck the worker itself or one process of its pool."""
    return not worker.alive or not all(processes.is_alive(pid) for pid in pool)


def test_there_are_points_wherever_durability_is_decided() -> None:
    decided = {"enqueue", "adopt", "claim", "body", "finish", "recover"}
    assert decided <= {point.partition(".")[0] for point in POINTS}
