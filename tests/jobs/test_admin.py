"""`app.jobs`: looking at jobs and steering them."""

from datetime import UTC, datetime
from typing import Any

import celery.exceptions
import pytest

from tests.jobs.rows import claimed, enqueue, new, settle, success
from tests.jobs.shop import Shop
from tests.lab.database import Connection
from trilho import JobFilter, JobStateError, Task, Trilho, UnknownJob
from trilho.testing import Harness

Work = Task[[int], int]


@pytest.fixture
def work(app: Trilho) -> Work:
    @app.task(name="work", max_retries=2)
    def work(number: int) -> int:
        return number

    return work


# ---- looking


def test_job_shows_what_people_ask_for(app: Trilho, work: Work, trilho: Harness) -> None:
    result = work.apply_async((5,), queue="low", priority=3)
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (job.task, job.queue, job.state, job.priority, job.attempt, job.max_attempts, job.retries) == (
        "work", "low", "SUCCESS", 3, 1, 3, 0,
    )  # fmt: skip
    assert (job.result, job.args, job.error, job.worker, job.finished) == (5, [5], None, "testing", True)
    assert (
        job.created_at <= (job.started_at or job.created_at) <= (job.finished_at or job.created_at) <= datetime.now(UTC)
    )


def test_pages_are_newest_first_and_complete(app: Trilho, work: Work) -> None:
    ids = [work.delay(number).id for number in range(25)]
    seen, cursor = [], None
    while True:
        page = app.jobs.list(JobFilter(limit=10, cursor=cursor))
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_list_can_be_narrowed_down(app: Trilho, work: Work, trilho: Harness) -> None:
    for number in range(3):
        work.apply_async((number,), queue="low" if number else "high")
    app.send_task("other")
    app.jobs.cancel(app.jobs.list(JobFilter(queue="high")).items[0].id)
    assert len(app.jobs.list(JobFilter(queue="low")).items) == 2
    assert len(app.jobs.list(JobFilter(task="other")).items) == 1
    assert len(app.jobs.list(JobFilter(state="REVOKED")).items) == 1
    assert app.jobs.list(JobFilter(state="REVOKED", queue="low")).items == []


def test_attempts_of_a_job_that_nobody_enqueued_are_unknown(app: Trilho) -> None:
    with pytest.raises(UnknownJob):
        app.jobs.attempts("none")


# ---- cancelling


@pytest.mark.parametrize("waiting", ["due", "later", "retry", "held"])
def test_waiting_job_is_revoked_at_once(app: Trilho, trilho: Harness, waiting: str) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        raise self.retry(countdown=60) if waiting == "retry" else AssertionError("it ran")

    if waiting == "held":
        result = (app.signature("nowhere") | work.si()).apply_async()
    else:
        result = work.apply_async(countdown=60 if waiting == "later" else 0)
    if waiting == "retry":
        trilho.run_until_idle()
    job = app.jobs.cancel(result.id)
    assert (job.state, job.error, job.finished) == ("REVOKED", "cancelled", True)
    trilho.advance(days=1)
    assert trilho.run_until_idle() == []
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=1)


def test_running_job_is_asked_to_stop(app: Trilho, connection: Connection) -> None:
    claimed(connection)
    assert app.jobs.cancel("one").state == "STARTED"
    row = connection.execute("SELECT cancel_requested_at IS NOT NULL FROM trilho.jobs").fetchone()
    assert row == (True,)


def test_finished_job_cannot_be_cancelled(app: Trilho, connection: Connection) -> None:
    settle(connection, success(claimed(connection)))
    with pytest.raises(JobStateError, match="it is SUCCESS"):
        app.jobs.cancel("one")


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_unknown_job_cannot_be_steered(app: Trilho, verb: str) -> None:
    with pytest.raises(UnknownJob):
        getattr(app.jobs, verb)("none")


@pytest.mark.parametrize("broker", [None, "redis://127.0.0.1:1/0"], ids=["none", "away"])
def test_revoke_of_celery_is_written_at_once_also_without_a_broker(database: str, broker: str | None) -> None:
    shop = Shop(database=database, broker=broker)
    result = shop.send_task("work")
    shop.control.revoke([result.id, "unknown"])
    assert shop.jobs.get(result.id).state == "REVOKED"
    shop.database.close()
    shop.close()


# ---- running again


def test_failed_job_runs_again_with_a_fresh_budget(app: Trilho, trilho: Harness) -> None:
    seen: list[int] = []

    @app.task(bind=True, max_retries=1)
    def work(self: Any) -> str:
        seen.append(self.request.retries)
        if len(seen) <= 2:
            raise self.retry(countdown=0, exc=ValueError("x"))
        return "done"

    result = work.delay()
    trilho.run_until_idle()
    assert app.jobs.get(result.id).state == "FAILURE"
    job = app.jobs.retry(result.id)
    assert (job.state, job.retries, job.crash_count, job.error, job.result, job.finished_at) == (
        "PENDING",
        0,
        0,
        None,
        None,
        None,
    )
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (seen, job.state, job.result, job.attempt) == ([0, 1, 0], "SUCCESS", "done", 3)
    assert [(a.number, a.state) for a in app.jobs.attempts(job.id)] == [(1, "RETRY"), (2, "FAILURE")]


def test_cancelled_and_expired_jobs_run_again(app: Trilho, work: Work, trilho: Harness) -> None:
    cancelled, expired = work.delay(1), work.apply_async((2,), expires=60)
    app.jobs.cancel(cancelled.id)
    trilho.advance(hours=1)
    trilho.run_until_idle()
    assert [app.jobs.get(each.id).state for each in (cancelled, expired)] == ["REVOKED"] * 2
    for each in (cancelled, expired):
        app.jobs.retry(each.id)
    trilho.run_until_idle()
    assert [app.jobs.get(each.id).state for each in (cancelled, expired)] == ["SUCCESS"] * 2


@pytest.mark.parametrize("state", ["PENDING", "STARTED", "SUCCESS"])
def test_other_states_cannot_run_again(app: Trilho, connection: Connection, state: str) -> None:
    if state == "PENDING":
        enqueue(connection, new())
    else:
        job = claimed(connection)
        settle(connection, *([success(job)] if state == "SUCCESS" else []))
    with pytest.raises(JobStateError, match=f"it is {state}"):
        app.jobs.retry("one")


def test_job_that_runs_again_waits_for_a_wakeup(app: Trilho, work: Work, connection: Connection) -> None:
    result = work.delay(1)
    app.jobs.cancel(result.id)
    app.jobs.retry(result.id)
    assert connection.execute("SELECT sent_at FROM trilho.jobs").fetchone() == (None,)


# ---- waiting


def test_wait_returns_the_job_whatever_became_of_it(app: Trilho, work: Work, trilho: Harness) -> None:
    trilho.fail(work, ValueError("x"))
    result = work.delay(1)
    trilho.run_until_idle()
    assert app.jobs.wait(result.id, timeout=1).state == "FAILURE"


def test_link_that_ended_before_its_turn_is_not_run_without_its_arguments(app: Trilho, trilho: Harness) -> None:
    @app.task(name="first")
    def first() -> int:
        return 1

    @app.task(name="second")
    def second(number: int = 99) -> int:
        return number

    last = (first.s() | second.s()).apply_async()
    app.jobs.cancel(last.id)
    with pytest.raises(JobStateError):
        app.jobs.retry(last.id)
    trilho.run_until_idle()
    assert app.jobs.get(last.id).state == "REVOKED"
