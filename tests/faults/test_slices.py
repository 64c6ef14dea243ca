"""Jobs that share a slice: only the body that ran answers for the end of its process, and nothing waits for it."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.lab import processes
from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually
from tests.lab.worker import Worker

WARM_UP = 16
OTHERS = [f"job-{number}" for number in range(31)]
IN_A_SLICE = ["claim.before", "claim.after", "finish.before", "finish.after"]
OF_CHILDREN = ["write_behind.before", "write_behind.after"]
OF_A_LONG_BODY = [*OF_CHILDREN, "take_back.before", "take_back.after"]
OF_AN_OLD_SLICE = ["give_back.before", "give_back.after"]


def warm(lab: Lab, *, concurrency: int = 1, **settings: object) -> Worker:
    """A worker that has seen that jobs are short, by one at a time."""
    worker = lab.worker("warm", concurrency=concurrency, **settings)
    for _ in range(WARM_UP):
        lab.app.tasks["lab.noop"].delay().get(timeout=20)
    return worker


def together(lab: Lab) -> int:
    """How many jobs were last claimed together with others."""
    return int(lab.query("SELECT count(*) FROM trilho.jobs WHERE suspect")[0][0])


def mixed(lab: Lab, special: str, *args: object, at: int = 16, **options: object) -> tuple[str, list[str]]:
    """One special job among others, which are enqueued at once; the ids."""
    with lab.app.transaction():
        before = lab.send_many("effect", OTHERS[:at])
        one = lab.send(special, "special", *args, **options)
        after = lab.send_many("effect", OTHERS[at:])
    return one, [*before, *after]


def outcomes(lab: Lab, ids: list[str]) -> Counter[tuple[str, int]]:
    """How many of these jobs are in each state with so many crashes."""
    return Counter((job.state, job.crash_count) for job in map(lab.job, ids))


def test_only_the_poison_of_a_slice_fails_and_the_others_run_at_once(lab: Lab) -> None:
    warm(lab, lease=30, max_crashes=1)
    poison, others = mixed(lab, "poison")
    eventually(lambda: outcomes(lab, others), lambda found: found == {("SUCCESS", 0): 31}, timeout=10)
    assert together(lab) > 1
    job = eventually(lambda: lab.job(poison), lambda job: job.state == "FAILURE", timeout=15)
    assert job.crash_count == 2
    assert len(lab.ledger.entries("special", "began")) == 2
    assert not [each for each in OTHERS[17:] if len(lab.ledger.entries(each, "began")) > 1]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_long_job_holds_nothing_that_is_behind_it(lab: Lab, concurrency: int) -> None:
    warm(lab, concurrency=concurrency)
    if concurrency == 1:
        lab.worker("idle")
    long, others = mixed(lab, "effect", 600.0, at=3)
    eventually(lambda: outcomes(lab, others), lambda found: found == {("SUCCESS", 0): 31}, timeout=5)
    assert account(OTHERS, Counter({key: n for key, n in lab.ledger.done().items() if key != "special"})) == EXACT
    assert {lab.job(job_id).attempt for job_id in others} == {1}
    assert (lab.job(long).state, lab.job(long).attempt) == ("STARTED", 1)
    [active] = eventually(
        lambda: [each for each in (lab.app.control.inspect(timeout=1).active() or {}).values() if each],
        lambda found: len(found) == 1,
    )
    assert [each["id"] for each in active] == [long]
    lab.app.jobs.cancel(long)
    eventually(lambda: lab.job(long).state, lambda state: state == "REVOKED")
    assert account(OTHERS, Counter({key: n for key, n in lab.ledger.done().items() if key != "special"})) == EXACT


def test_time_limit_ends_one_job_of_a_slice(lab: Lab) -> None:
    warm(lab)
    with lab.app.transaction():
        lab.send_many("effect", OTHERS[:5], time_limit=2)
        hanging = lab.send("effect", "special", 60.0, time_limit=2)
        lab.send_many("effect", OTHERS[5:], time_limit=2)
    eventually(lab.states, lambda states: states == {"SUCCESS": 31 + WARM_UP, "FAILURE": 1})
    assert str(lab.job(hanging).error).startswith("TimeLimitExceeded")
    assert account(OTHERS, lab.ledger.done()) == EXACT


@pytest.mark.parametrize("point", IN_A_SLICE)
def test_process_killed_in_a_slice_at(lab: Lab, point: str) -> None:
    # A lone message may come first, as a slice of its own; so the second slice is meant, which may be of later jobs.
    worker = warm(lab, lease=30, fault=f"{point}=kill@{WARM_UP + 2}")
    [child], ids = worker.pool(), list[str]()
    for batch in range(3):
        ids += lab.send_many("effect", [f"{batch}-{key}" for key in OTHERS])
        lab.all_succeed(len(ids) + WARM_UP)
        if not processes.is_alive(child.pid):
            break
    assert outcomes(lab, ids) == {("SUCCESS", 0): len(ids)}
    again = [key for key, times in lab.ledger.done().items() if times > 1]
    assert not again or point == "finish.before"  # unless a busy machine let them be written behind the slice's back


@pytest.mark.parametrize("point", OF_A_LONG_BODY)
def test_process_killed_while_a_long_body_holds_its_slice_at(lab: Lab, point: str) -> None:
    worker = warm(lab, fault=f"{point}=kill")
    keys: list[str] = []

    def long_body() -> None:
        keys.append(f"special-{len(keys)}")
        lab.send("record", keys[-1], 3.0)

    jobs = hurt(lab, worker, long_body)
    lab.all_succeed(jobs)
    assert account(keys, lab.effects()) == EXACT
    crashes = lab.query("SELECT task, crash_count FROM trilho.jobs WHERE crash_count > 0")
    assert crashes == ([("lab.record", 1)] if point in OF_CHILDREN else [])


@pytest.mark.parametrize("point", OF_AN_OLD_SLICE)
def test_process_killed_while_it_gives_back_what_it_did_not_begin_at(lab: Lab, point: str) -> None:
    worker = warm(lab, lease=30, fault=f"{point}=kill")
    jobs = hurt(lab, worker, lambda: [lab.send("nap", 0.012) for _ in range(8)])
    lab.all_succeed(jobs)
    assert lab.query("SELECT count(*) FROM trilho.jobs WHERE crash_count > 0 OR attempt > 1") == [(0,)]


def hurt(lab: Lab, worker: Worker, special: Callable[[], object]) -> int:
    """Enqueue special jobs amid others until the kill; if it struck the parent, start another. How many jobs there are.

    Again and again, for a worker that stumbles just then takes its jobs to be long, and shares no slice.
    """
    pool = {process.pid for process in worker.pool()}

    def struck() -> bool:
        return not worker.alive or {process.pid for process in worker.pool()} != pool

    for _ in range(10):
        with lab.app.transaction():
            for place in range(31):
                lab.send("noop")
                if place == 6:
                    special()
        if eventually(lambda: struck() or set(lab.states()) == {"SUCCESS"}, timeout=30) and struck():
            break
    assert struck()
    eventually(lambda: not worker.alive or len(worker.pool()) == len(pool))  # killed, but not dead yet
    if not worker.alive:
        lab.worker("healthy")
    return lab.states().total()


def test_without_a_witness_only_a_crash_alone_counts(lab: Lab) -> None:
    first = warm(lab)
    guilty, others = mixed(lab, "regicide", 2)
    first.wait()
    assert together(lab) > 1
    second = lab.worker("second", concurrency=1)  # what runs beside it when the worker dies is charged, too
    second.wait(timeout=RECOVERY + 10)
    eventually(lambda: outcomes(lab, others), lambda found: {count for _, count in found} == {0})
    lab.worker("third")
    lab.all_succeed(32 + WARM_UP, timeout=RECOVERY + 10)
    assert lab.job(guilty).crash_count == 1
    assert outcomes(lab, others) == {("SUCCESS", 0): 31}


def test_slice_is_left_in_order_on_sigterm(lab: Lab) -> None:
    worker = warm(lab, shutdown_grace=5)
    ids = lab.send_many("record", OTHERS, 0.15)
    eventually(lambda: lab.ledger.entries(event="began"))
    worker.terminate()
    assert worker.wait() == 0
    began = time.monotonic()
    lab.worker("next", concurrency=4)
    lab.all_succeed(31 + WARM_UP)
    assert time.monotonic() - began < 15
    assert account(OTHERS, lab.effects()) == EXACT
    assert {lab.job(job_id).attempt for job_id in ids} == {1}
