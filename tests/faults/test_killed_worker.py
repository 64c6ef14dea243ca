"""A worker, or one process of its pool, is killed with -9."""

import random
import time

import psutil
import pytest

from tests.lab import processes
from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually


def test_jobs_of_killed_worker_run_again_within_lease(lab: Lab) -> None:
    first = lab.worker("w1")
    ids = lab.send_many("record", ["a", "b"], 20.0)
    for key in "ab":
        lab.began(key)
    lab.worker("w2")
    first.kill()
    for key in "ab":
        lab.began(key, 2, timeout=RECOVERY)
    lab.all_succeed(2)
    assert account("ab", lab.effects()) == EXACT
    for job_id in ids:
        (lost,) = lab.app.jobs.attempts(job_id)
        assert lost.state == "LOST"
        assert "worker lost" in str(lost.error)
        assert lab.job(job_id).attempt == 2


@pytest.mark.timeout(120)
def test_kills_under_load_lose_nothing_and_double_nothing(lab: Lab) -> None:
    chance = random.Random(1)
    keys = [f"job-{number}" for number in range(300)]
    workers = {name: lab.worker(name, wait=False, max_crashes=100) for name in ("w1", "w2")}
    for worker in workers.values():
        worker.wait_ready()
    for key in keys:
        lab.send("record", key, chance.uniform(0.02, 0.2))
    for _ in range(5):
        name = chance.choice(list(workers))
        workers[name].kill()
        workers[name] = lab.worker(name, max_crashes=100)
    lab.all_succeed(len(keys), timeout=60)
    assert account(keys, lab.effects()) == EXACT


def test_job_of_killed_pool_process_runs_again_at_once(lab: Lab) -> None:
    worker = lab.worker("w1", lease=30)
    job_id = lab.send("record", "a", 20.0)
    lab.began("a")
    worker.kill_child(lab.ledger.entries("a")[0].pid)
    lab.began("a", 2, timeout=5)
    lab.all_succeed(1)
    assert account(["a"], lab.effects()) == EXACT
    assert lab.job(job_id).crash_count == 1


def test_poison_job_ends_as_failure_and_the_others_succeed(lab: Lab) -> None:
    lab.worker("w1", max_crashes=2)
    poison = lab.send("poison", "poison")
    others = [f"job-{number}" for number in range(30)]
    ids = lab.send_many("record", others, 0.02)
    eventually(lab.states, lambda states: states == {"SUCCESS": 30, "FAILURE": 1}, timeout=40)
    job = lab.job(poison)
    assert "WorkerLostError" in str(job.error)
    assert job.crash_count == 3
    assert len(lab.ledger.entries("poison", "began")) == 3
    assert account(others, lab.effects()) == EXACT
    assert [lab.job(job_id).crash_count for job_id in ids] == [0] * len(ids)


def test_job_that_kills_its_process_less_often_than_the_limit_succeeds(lab: Lab) -> None:
    lab.worker("w1", max_crashes=2)
    job_id = lab.send("poison_until", "a", 2)
    lab.all_succeed(1)
    assert lab.job(job_id).crash_count == 2


def test_jobs_that_only_waited_in_a_killed_worker_count_no_crash(lab: Lab) -> None:
    worker = lab.worker("w1", concurrency=1)
    running = lab.send("effect", "running", 30.0)
    lab.began("running")
    waiting = lab.send_many("effect", [f"job-{number}" for number in range(10)])
    time.sleep(0.5)
    worker.kill()
    lab.worker("w2")
    eventually(lambda: lab.states()["SUCCESS"], lambda done: done == 10, timeout=RECOVERY + 5)
    assert [lab.job(job_id).crash_count for job_id in waiting] == [0] * 10
    assert [lab.job(job_id).attempt for job_id in waiting] == [1] * 10
    lab.app.jobs.cancel(running)


def test_job_whose_process_has_no_row_any_more_is_recovered(lab: Lab) -> None:
    first = lab.worker("w1")
    lab.send("record", "a", 20.0)
    lab.began("a")
    lab.worker("w2")
    first.kill()
    lab.query("DELETE FROM trilho.processes WHERE pid = %s", first.pid)
    lab.all_succeed(1, timeout=RECOVERY + 5)
    assert account(["a"], lab.effects()) == EXACT


def test_new_worker_of_the_same_name_does_not_keep_old_claims_alive(lab: Lab) -> None:
    first = lab.worker("w1")
    lab.send("record", "a", 20.0)
    lab.began("a")
    first.kill()
    lab.worker("w1")
    lab.began("a", 2, timeout=RECOVERY)
    lab.all_succeed(1)
    assert account(["a"], lab.effects()) == EXACT


@pytest.mark.parametrize("how", ["worker", "child", "terminate", "time limit"])
def test_programs_started_by_a_body_end_with_it(lab: Lab, how: str) -> None:
    worker = lab.worker("w1", concurrency=1, shutdown_grace=0.5)
    lab.send("with_child", "a", 600, time_limit=2 if how == "time limit" else None)
    (entry,) = eventually(lambda: lab.ledger.entries("a", "child"))
    assert processes.is_alive(entry.pid)
    if how == "worker":
        worker.kill()
    elif how == "child":
        worker.kill_child()
    elif how == "terminate":
        worker.terminate()
    eventually(lambda: not processes.is_alive(entry.pid), timeout=10)


def test_lease_is_watched_by_processes_that_began_after_their_guardian_was_killed(lab: Lab) -> None:
    worker = lab.worker("w1", concurrency=1)
    before = worker.pool()
    for child in psutil.Process(worker.pid).children():
        child.kill()
    eventually(lambda: [each for each in worker.pool() if each not in before], timeout=20)
    lab.send("record", "a", 20.0)
    lab.began("a")
    worker.freeze_parent()
    (entry,) = lab.ledger.entries("a", "began")
    eventually(lambda: not processes.is_alive(entry.pid), timeout=RECOVERY + 5)


def test_long_job_outlives_many_leases_in_one_attempt(lab: Lab) -> None:
    lab.worker("w1", lease=1)
    lab.worker("w2", lease=1)
    job_id = lab.send("record", "a", 5.0)
    lab.all_succeed(1)
    assert lab.job(job_id).attempt == 1
    assert account(["a"], lab.ledger.done()) == EXACT
