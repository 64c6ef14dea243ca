"""A worker is stopped, cut off or loses its parent: it must not act on a claim that is no longer its own."""

from itertools import pairwise

import pytest

from tests.faults.conftest import MakeLab
from tests.lab.database import port_of, with_port
from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, Entry, account
from tests.lab.poll import always, eventually
from tests.lab.proxy import FaultProxy

OUTCOME = """
SELECT state, result, error, claim_token, worker_name, finished_at, attempt FROM trilho.jobs WHERE id = %s
"""


def overlap(entries: list[Entry]) -> bool:
    """Whether bodies of two processes ran at the same time."""
    pids = list(dict.fromkeys(entry.pid for entry in entries))
    turns = [[entry.at for entry in entries if entry.pid == pid] for pid in pids]
    return any(later[0] <= earlier[-1] for earlier, later in pairwise(turns))


def test_frozen_worker_cannot_finish_what_another_took_over(lab: Lab) -> None:
    frozen = lab.worker("w1")
    job_id = lab.send("record", "a", 3.0)
    lab.began("a")
    frozen.freeze()
    lab.worker("w2")
    lab.all_succeed(1, timeout=RECOVERY + 5)
    finished = lab.job(job_id)
    frozen.thaw()
    always(lambda: lab.job(job_id), lambda job: job.finished_at == finished.finished_at, seconds=3)
    assert account(["a"], lab.effects()) == EXACT
    assert str(finished.worker).startswith("w2")


@pytest.mark.parametrize("task", ["effect", "record", "retry_late"])
def test_attempt_of_a_worker_wrongly_taken_for_dead_changes_nothing(lab: Lab, task: str) -> None:
    slow = lab.worker("w1", concurrency=1, lease=60)
    job_id = lab.send(task, "a", 8.0)
    lab.began("a")
    lab.query("UPDATE trilho.processes SET lease = interval '0.1 s', seen_at = seen_at - interval '1 hour'")
    lab.worker("w2")
    eventually(lambda: any(sign in slow.log.read_text() for sign in ("claim.lost", "slice.ended")))
    lab.all_succeed(1)
    always(lambda: lab.job(job_id), lambda job: job.state == "SUCCESS" and job.attempt == 2, seconds=1)
    assert str(lab.job(job_id).worker).startswith("w2")
    assert lab.effects()["a"] == (1 if task == "record" else 0)


def test_surviving_an_expiry_is_no_crash(lab: Lab) -> None:
    frozen = lab.worker("w1")
    job_id = lab.send("record", "a", 3.0)
    lab.began("a")
    frozen.freeze()
    lab.worker("w2")
    lab.all_succeed(1, timeout=RECOVERY + 5)
    frozen.thaw()
    eventually(lambda: lab.job(job_id).crash_count, lambda count: count == 0)


def test_worker_that_outlived_its_lease_works_again(lab: Lab) -> None:
    frozen = lab.worker("w1")
    lab.send("record", "a", 3.0)
    lab.began("a")
    frozen.freeze()
    second = lab.worker("w2")
    lab.all_succeed(1, timeout=RECOVERY + 5)
    second.terminate()
    second.wait()
    frozen.thaw()
    lab.send_many("record", ["b", "c", "d"])
    lab.all_succeed(4, timeout=20)
    assert account("abcd", lab.effects()) == EXACT


def test_row_lock_of_a_frozen_worker_is_broken(lab: Lab) -> None:
    frozen = lab.worker("w1")
    lab.send("holding", "a", "a", 3.0)
    eventually(lambda: lab.ledger.entries("a", "locked"))
    frozen.freeze()
    lab.worker("w2")
    lab.all_succeed(1, timeout=RECOVERY + 5)
    frozen.thaw()
    assert account(["a"], lab.effects()) == EXACT
    assert lab.query("SELECT value FROM counters WHERE name = 'a'") == [(1,)]


def test_transaction_of_a_body_bears_its_token(lab: Lab) -> None:
    lab.worker("w1")
    job_id = lab.send("holding", "a", "a", 2.0)
    eventually(lambda: lab.ledger.entries("a", "locked"))
    ((token,),) = lab.query("SELECT claim_token::text FROM trilho.jobs WHERE id = %s", job_id)
    names = lab.query("SELECT application_name FROM pg_stat_activity WHERE xact_start IS NOT NULL")
    assert (f"trilho:{token}",) in names
    lab.all_succeed(1)


def test_worker_cut_off_from_the_database_stops_its_bodies_before_others_start_them(
    make_lab: MakeLab, database: str, valkey: str
) -> None:
    lab = make_lab(database=database, broker=valkey)
    with FaultProxy(port_of(database)) as proxy:
        lab.worker("w1", database_url=with_port(database, proxy.port))
        job_id = lab.send("ticks", "a", 20.0)
        lab.began("a")
        lab.worker("w2")
        proxy.set("black-hole")
        lab.began("a", 2, timeout=RECOVERY + 5)
        lab.all_succeed(1)
        proxy.set("pass")
    assert not overlap(lab.ledger.entries("a"))
    assert lab.job(job_id).attempt == 2


def test_pool_of_a_hung_worker_stops_itself_before_others_start_its_bodies(lab: Lab) -> None:
    hung = lab.worker("w1", concurrency=1)
    lab.send("ticks", "a", 20.0)
    lab.began("a")
    lab.worker("w2")
    hung.freeze_parent()
    lab.began("a", 2, timeout=RECOVERY + 5)
    lab.all_succeed(1)
    assert not overlap(lab.ledger.entries("a"))


@pytest.mark.parametrize("limit", [1])
def test_hard_time_limit_of_a_hung_body_is_kept(lab: Lab, limit: int) -> None:
    lab.worker("w1", concurrency=1)
    job_id = lab.send("effect", "a", 60.0, time_limit=limit)
    eventually(lambda: lab.job(job_id).state, lambda state: state == "FAILURE", timeout=10)
    lab.send("effect", "b")
    eventually(lambda: lab.ledger.done()["b"])
