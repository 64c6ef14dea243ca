"""A claim: one owner at a time, and the same answer to whoever asks again."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.jobs.rows import claim, claimant, claimed, column, enqueue, new, release, retry, settle, success, view
from tests.lab.database import Connection, connect
from trilho.jobs import store


def test_claim_starts_the_job_for_its_owner(connection: Connection) -> None:
    enqueue(connection)
    by = claimant()
    [job] = claim(connection, by=by)
    assert (job.id, job.state, job.attempt, job.claim_token) == ("one", "STARTED", 1, by.token)
    shown = view(connection)
    assert (shown.state, shown.worker, shown.attempt) == ("STARTED", "w@host", 1)
    assert shown.started_at is not None
    assert column(connection, "worker") == by.worker


def test_second_claim_gets_nothing_and_changes_nothing(connection: Connection) -> None:
    first = claimed(connection)
    assert claim(connection) == []
    assert column(connection, "claim_token") == first.claim_token


def test_claim_whose_answer_got_lost_finds_the_same_rows_and_counts_once(connection: Connection) -> None:
    enqueue(connection, new("a"), new("b"))
    by = claimant()
    first = claim(connection, "a", "b", by=by)
    again = claim(connection, "a", "b", by=by)
    assert sorted(again, key=lambda job: job.id) == sorted(first, key=lambda job: job.id)
    assert [view(connection, job_id).attempt for job_id in "ab"] == [1, 1]


def test_claim_that_finished_is_not_found_again(connection: Connection) -> None:
    by = claimant()
    settle(connection, success(claimed(connection, by=by)))
    assert claim(connection, by=by) == []
    assert view(connection).state == "SUCCESS"


def test_claim_takes_what_it_can_of_a_list(connection: Connection) -> None:
    enqueue(
        connection,
        new("a"),
        new("held", held=True),
        new("later", run_at=datetime.now(UTC) + timedelta(hours=1)),
        new("b"),
    )
    claimed(connection, "taken")
    assert {job.id for job in claim(connection, "a", "held", "later", "taken", "unknown", "b")} == {"a", "b"}


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_finished_job_is_never_claimed(connection: Connection, state: str) -> None:
    enqueue(connection)
    connection.execute("UPDATE trilho.jobs SET state = %s, finished_at = now()", (state,))
    assert claim(connection) == []


def test_job_that_waits_after_a_retry_is_claimed_with_a_new_number(connection: Connection) -> None:
    settle(connection, retry(claimed(connection)))
    [job] = claim(connection)
    assert job.attempt == 2


def test_expired_job_is_claimed_to_be_ended_and_counts_no_attempt(connection: Connection) -> None:
    enqueue(connection, new(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    [job] = claim(connection)
    assert (job.ending, job.attempt) == ("expired before it was started", 0)


def test_job_that_expires_later_is_not_expired(connection: Connection) -> None:
    assert claimed(connection, expires_at=datetime.now(UTC) + timedelta(hours=1)).ending is None


def test_job_that_was_cancelled_while_it_ran_is_claimed_to_be_ended(connection: Connection) -> None:
    job = claimed(connection)
    store.changed(connection, "cancel_running", id="one")
    settle(connection, release(job))
    [again] = claim(connection)
    assert again.ending == "cancelled"


def test_claim_forgets_the_progress_of_the_last_attempt(connection: Connection) -> None:
    job = claimed(connection)
    store.changed(connection, "report", id=job.id, token=job.claim_token, progress="1", custom_state="X")
    settle(connection, release(job))
    claim(connection)
    assert (column(connection, "progress"), column(connection, "custom_state")) == (None, None)


def test_claim_does_not_wait_for_the_disk_and_later_statements_do(connection: Connection) -> None:
    connection.execute("SET synchronous_commit = on")
    enqueue(connection)
    claim(connection)
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_one_of_many_claims_at_once_wins(connection: Connection, database: str) -> None:
    ids = [f"job-{number}" for number in range(20)]
    enqueue(connection, *(new(job_id) for job_id in ids))
    start = threading.Barrier(4)
    won: list[str] = []

    def run(order: list[str]) -> None:
        with connect(database) as mine:
            start.wait()
            won.extend(job.id for job in store.claim(mine, order, claimant()))

    orders = [ids, ids[::-1], ids[10:] + ids[:10], ids]
    threads = [threading.Thread(target=run, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(ids)


def test_seized_job_is_held_by_whoever_ends_it(connection: Connection) -> None:
    enqueue(connection, new("one", held=True))
    token = uuid4()
    job = store.seize(connection, "one", token)
    assert job is not None
    assert (job.claim_token, column(connection, "held")) == (token, False)
    assert store.seize(connection, "one", uuid4()) is None
