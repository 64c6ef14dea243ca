"""A worker is asked to stop, once or impatiently."""

import signal
import time

import pytest

from tests.lab.lab import Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually


def test_unfinished_job_is_given_back_at_once_and_not_after_its_lease(lab: Lab) -> None:
    first = lab.worker("w1", concurrency=1, lease=60, shutdown_grace=1)
    job_id = lab.send("ticks", "a", 30.0)
    lab.began("a")
    lab.worker("w2", lease=60)
    asked = time.monotonic()
    first.terminate()
    assert first.wait(timeout=10) == 0
    lab.began("a", 2, timeout=10)
    assert time.monotonic() - asked < 10
    lab.all_succeed(1)
    job = lab.job(job_id)
    assert (job.attempt, job.crash_count) == (2, 0)
    entries = lab.ledger.entries("a")
    mine = [entry.at for entry in entries if entry.pid == entries[0].pid]
    others = [entry.at for entry in entries if entry.pid != entries[0].pid]
    assert max(mine) < min(others)


def test_running_jobs_finish_and_no_job_is_claimed_after_sigterm(lab: Lab) -> None:
    worker = lab.worker("w1", concurrency=1, shutdown_grace=10)
    lab.send("record", "running", 2.0)
    lab.began("running")
    waiting = [f"job-{number}" for number in range(10)]
    lab.send_many("record", waiting)
    worker.terminate()
    assert worker.wait() == 0
    assert lab.ledger.done() == {"running": 1}
    assert [entry.key for entry in lab.ledger.entries(event="began")] == ["running"]
    lab.worker("w2")
    lab.all_succeed(11)
    assert account(["running", *waiting], lab.effects()) == EXACT


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGQUIT), (signal.SIGQUIT,), (signal.SIGINT,)],
    ids=lambda signals: "+".join(number.name for number in signals),
)
def test_impatient_signals_lose_nothing(lab: Lab, signals: tuple[signal.Signals, ...]) -> None:
    worker = lab.worker("w1", concurrency=2, shutdown_grace=3)
    keys = ["a", "b", "c"]
    lab.send_many("record", keys, 4.0)
    lab.began("a")
    for number in signals:
        worker.signal(number)
        time.sleep(0.5)
    worker.wait(timeout=15)
    lab.worker("w2")
    lab.all_succeed(3)
    assert account(keys, lab.effects()) == EXACT


def test_cancel_during_shutdown_is_honoured(lab: Lab) -> None:
    worker = lab.worker("w1", shutdown_grace=20)
    job_id = lab.send("ticks", "a", 60.0)
    lab.began("a")
    worker.terminate()
    lab.app.jobs.cancel(job_id)
    eventually(lambda: lab.job(job_id).state, lambda state: state == "REVOKED", timeout=8)
    worker.wait(timeout=15)


def test_cancel_survives_the_death_of_its_worker(lab: Lab) -> None:
    worker = lab.worker("w1")
    job_id = lab.send("ticks", "a", 60.0)
    lab.began("a")
    worker.freeze()
    lab.app.jobs.cancel(job_id)
    worker.kill()
    lab.worker("w2")
    eventually(lambda: lab.job(job_id).state, lambda state: state == "REVOKED", timeout=15)
    assert len(lab.ledger.entries("a", "began")) == 1


def test_no_process_is_left_after_sigterm(lab: Lab) -> None:
    worker = lab.worker("w1", shutdown_grace=1)
    lab.send("with_child", "a", 600)
    lab.began("a")
    worker.terminate()
    worker.wait(timeout=15)
    eventually(lambda: not worker.descendants())
