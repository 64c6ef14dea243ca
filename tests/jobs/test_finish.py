"""The end of an attempt: fenced by its token, written once, and recognised when its answer got lost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from tests.jobs.rows import (
    claim,
    claimant,
    claimed,
    column,
    enqueue,
    failure,
    new,
    release,
    retry,
    settle,
    success,
    view,
    whole,
    with_token,
)  # fmt: skip
from tests.lab.database import Connection
from trilho.jobs import store
from trilho.jobs.job import Claimed
from trilho.jobs.outcome import Finish, Outcome, Reschedule, interrupted, replaced

LATE: dict[str, Callable[[Claimed], Outcome]] = {
    "success": success,
    "failure": failure,
    "retry": retry,
    "release": release,
}


def lost(job: Claimed) -> Reschedule:
    return interrupted(job.id, job.claim_token, "killed")


def test_finish_writes_all_that_it_was_told(connection: Connection) -> None:
    job = claimed(connection)
    end = Finish(
        job.id,
        job.claim_token,
        "FAILURE",
        result="{}",
        error="E: x",
        traceback="t",
        children="[]",
        progress="7",
        crash=True,
    )
    assert settle(connection, end) == {"one"}
    shown = view(connection)
    assert (shown.state, shown.error, shown.traceback, shown.crash_count) == ("FAILURE", "E: x", "t", 1)
    assert column(connection, "progress") == "7"
    assert shown.finished_at is not None


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("meanwhile", ["finished", "retried", "released", "lost", "taken over", "cancelled"])
def test_late_end_of_a_lost_claim_changes_nothing(connection: Connection, late: str, meanwhile: str) -> None:
    old = claimed(connection)
    if meanwhile == "finished":
        settle(connection, success(old, "7"))
    else:
        settle(connection, {"retried": retry, "released": release}.get(meanwhile, lost)(old))
    if meanwhile == "taken over":
        claim(connection)
    if meanwhile == "cancelled":
        job = store.seize(connection, "one", uuid4())
        assert job is not None
        settle(connection, replace(success(job), state="REVOKED"))
    before = whole(connection)
    assert settle(connection, LATE[late](old)) == set()
    assert whole(connection) == before


@pytest.mark.parametrize("late", LATE)
def test_end_with_a_token_of_nobody_changes_nothing(connection: Connection, late: str) -> None:
    job = claimed(connection)
    before = whole(connection)
    assert settle(connection, LATE[late](job._replace(claim_token=uuid4()))) == set()
    assert whole(connection) == before


def test_finish_whose_answer_got_lost_is_recognised_and_not_repeated(connection: Connection) -> None:
    job = claimed(connection)
    end = success(job)
    settle(connection, end)
    before = whole(connection)
    assert settle(connection, end) == set()
    assert store.already_settled(connection, [end]) == {"one"}
    assert whole(connection) == before


def test_finish_of_another_is_not_mistaken_for_mine(connection: Connection) -> None:
    old = claimed(connection)
    settle(connection, lost(old))
    [new_owner] = claim(connection)
    settle(connection, success(new_owner))
    assert store.already_settled(connection, [success(old)]) == set()


def test_other_end_of_the_same_claim_is_not_mistaken_for_mine(connection: Connection) -> None:
    job = claimed(connection)
    settle(connection, success(job))
    assert store.already_settled(connection, [failure(job)]) == set()


def test_several_ends_are_one_statement_and_each_is_fenced(connection: Connection) -> None:
    by = claimant()
    enqueue(connection, *(new(job_id) for job_id in "abc"))
    a, b, c = sorted(claim(connection, *"abc", by=by), key=lambda job: job.id)
    written = settle(connection, success(c), with_token(success(b), uuid4()), failure(a))
    assert written == {"a", "c"}
    assert [view(connection, job_id).state for job_id in "abc"] == ["FAILURE", "STARTED", "SUCCESS"]


def test_reports_do_not_lose_the_fence(connection: Connection) -> None:
    job = claimed(connection)
    store.changed(connection, "report", id=job.id, token=job.claim_token, progress="1", custom_state="X")
    assert view(connection).state == "PROCESSING"
    assert settle(connection, success(job)) == {"one"}
    assert column(connection, "custom_state") is None


def test_late_report_changes_nothing(connection: Connection) -> None:
    old = claimed(connection)
    settle(connection, lost(old))
    claim(connection)
    assert not store.changed(connection, "report", id=old.id, token=old.claim_token, progress="1", custom_state=None)


def test_attempts_remember_all_but_a_plain_success(connection: Connection) -> None:
    settle(connection, retry(claimed(connection)))
    for end in (release, lost, failure):
        settle(connection, end(claim(connection)[0]))
    remembered = store.attempts(connection, "one")
    assert [(a.number, a.state) for a in remembered] == [(1, "RETRY"), (2, "RELEASED"), (3, "LOST"), (4, "FAILURE")]
    assert {a.worker for a in remembered} == {"w@host"}
    settle(connection, success(claimed(connection, "two")))
    assert store.attempts(connection, "two") == []


def test_end_is_announced_to_those_who_wait_only(connection: Connection) -> None:
    connection.execute("LISTEN trilho_done")
    awaited, silent = claimed(connection, "awaited"), claimed(connection, "silent")
    connection.execute(store.SQL["await"].encode(), {"ids": ["awaited"]})
    settle(connection, success(awaited), success(silent))
    assert [notice.payload for notice in connection.notifies(timeout=0.5)] == ["awaited"]


def test_rolled_back_end_is_not_announced(connection: Connection) -> None:
    connection.execute("LISTEN trilho_done")
    job = claimed(connection)
    connection.execute(store.SQL["await"].encode(), {"ids": ["one"]})
    with connection.transaction(force_rollback=True):
        store.settle(connection, [success(job)])
    assert [*connection.notifies(timeout=0.3)] == []


# ---- running again


def test_retry_takes_what_the_body_changed(connection: Connection) -> None:
    job = claimed(connection, args="[1]", max_retries=3)
    when = datetime(2100, 1, 1, tzinfo=UTC)
    changed = new(args="[2]", kwargs='{"a":1}', queue="low", priority=4, retries=1, run_at=when)
    settle(connection, retry(job, run_at=when, job=changed))
    shown = view(connection)
    assert (shown.args, shown.kwargs, shown.queue, shown.priority, shown.retries) == ([2], {"a": 1}, "low", 4, 1)
    assert (shown.state, shown.next_run_at, shown.max_attempts) == ("RETRY", when, 4)
    assert (column(connection, "sent_at"), column(connection, "worker")) == (None, None)


def test_release_changes_nothing_but_the_turn(connection: Connection) -> None:
    job = claimed(connection, args="[1]", canvas='{"chain":[]}', expires_at=datetime(2100, 1, 1, tzinfo=UTC))
    settle(connection, release(job))
    shown = view(connection)
    assert (shown.state, shown.args, shown.retries, shown.crash_count) == ("PENDING", [1], 0, 0)
    assert (column(connection, "canvas"), shown.expires_at) == ('{"chain":[]}', datetime(2100, 1, 1, tzinfo=UTC))


def test_delay_is_counted_by_the_clock_of_the_server(connection: Connection) -> None:
    settle(connection, retry(claimed(connection), delay=60.0))
    waits = column(connection, "run_at - clock_timestamp()")
    assert timedelta(seconds=50) < waits <= timedelta(seconds=60)


def test_lost_claim_frees_the_token(connection: Connection) -> None:
    settle(connection, lost(claimed(connection)))
    assert column(connection, "claim_token") is None


def test_replacement_that_is_held_waits_for_its_turn(connection: Connection) -> None:
    job = claimed(connection)
    settle(connection, replaced(job.claim_token, new(held=True, task="other")))
    assert (column(connection, "held"), column(connection, "task")) == (True, "other")
    assert claim(connection) == []


# ---- what the table itself does not allow


@pytest.mark.parametrize(
    "change",
    [
        "state = 'STARTED'",
        "state = 'SUCCESS'",
        "finished_at = now()",
        "state = 'DONE'",
        "id = repeat('x', 256)",
        "held = true, state = 'RETRY'",
    ],
)
def test_impossible_rows_are_refused(connection: Connection, change: str) -> None:
    enqueue(connection)
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.StringDataRightTruncation)):
        connection.execute(f"UPDATE trilho.jobs SET {change}".encode())
