"""Two worker processes with one host name, as pods have it: leases belong to processes, not to names."""

import time

from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually


def test_both_work_and_the_death_of_one_does_not_touch_the_other(lab: Lab) -> None:
    first, second = lab.worker("w1"), lab.worker("w1")
    keys = [f"job-{number}" for number in range(60)]
    lab.send_many("record", keys, 0.1)
    eventually(lambda: len({e.pid for e in lab.ledger.entries(event="began")}), lambda pids: pids == 4)
    first.kill()
    lab.all_succeed(len(keys))
    assert account(keys, lab.effects()) == EXACT
    rows = lab.query("SELECT DISTINCT name, incarnation FROM trilho.processes")
    assert (len({name for name, _ in rows}), len(rows)) == (1, 2)
    assert second.alive


def test_successor_leaves_a_draining_worker_its_jobs(lab: Lab) -> None:
    old = lab.worker("w1", shutdown_grace=20)
    job_id = lab.send("record", "a", 5.0)
    lab.began("a")
    old.terminate()
    lab.worker("w1")
    lab.send("record", "b")
    eventually(lambda: lab.effects()["b"])
    assert old.wait(timeout=20) == 0
    lab.all_succeed(2)
    assert (lab.job(job_id).attempt, account("ab", lab.effects())) == (1, EXACT)


def test_successor_does_not_keep_the_jobs_of_a_draining_worker_alive(lab: Lab) -> None:
    old = lab.worker("w1", shutdown_grace=60)
    job_id = lab.send("record", "a", 30.0)
    lab.began("a")
    old.terminate()
    lab.worker("w1")
    old.kill()
    lab.began("a", 2, timeout=RECOVERY)
    lab.all_succeed(1)
    assert (lab.job(job_id).attempt, account(["a"], lab.effects())) == (2, EXACT)


def test_cancel_reaches_the_one_that_runs_the_job(lab: Lab) -> None:
    lab.worker("w1")
    lab.worker("w1")
    ids = [lab.send("ticks", key, 60.0) for key in "abcd"]
    for key in "abcd":
        lab.began(key)
    for job_id in ids[:2]:
        lab.app.AsyncResult(job_id).revoke(terminate=True)
    eventually(lambda: [lab.job(job_id).state for job_id in ids[:2]], lambda states: set(states) == {"REVOKED"})
    time.sleep(0.5)
    assert {lab.job(job_id).state for job_id in ids[2:]} == {"STARTED"}
