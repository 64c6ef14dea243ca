"""Retries wait in PostgreSQL and keep Celery's rules."""

from datetime import UTC, datetime
from typing import Any

import pytest
from celery.app import autoretry
from celery.exceptions import MaxRetriesExceededError, Retry
from celery.utils.time import get_exponential_backoff_interval

from trilho import Job, Task, Trilho
from trilho.testing import Harness


class Busy(Exception):
    """Something that passes."""


def run_out(trilho: Harness) -> int:
    """Let every retry become due; how many attempts there were."""
    attempts = 0
    while jobs := trilho.run_until_idle():
        attempts += len(jobs)
        trilho.advance(days=1)
    return attempts


def seconds_to_wait(job: Job) -> float:
    assert job.next_run_at is not None
    return (job.next_run_at - datetime.now(UTC)).total_seconds()


def test_retry_waits_with_its_reason_in_the_row(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    def work(self: Task[[], None]) -> None:
        raise self.retry(exc=Busy("codec"), countdown=60)

    result = work.delay()
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (job.state, job.attempt, job.retries, job.max_attempts, job.error) == ("RETRY", 1, 1, 4, "Busy: codec")
    assert 50 < seconds_to_wait(job) < 61
    assert (result.state, repr(result.info)) == ("RETRY", repr(Busy("codec")))
    [attempt] = app.jobs.attempts(result.id)
    assert (attempt.number, attempt.state, attempt.error, attempt.worker) == (1, "RETRY", "Busy: codec", "testing")


def test_body_sees_how_often_it_was_retried(app: Trilho, trilho: Harness) -> None:
    seen: list[int] = []

    @app.task(bind=True)
    def work(self: Any) -> str:
        seen.append(self.request.retries)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return "done"

    result = work.delay()
    assert len(trilho.run_until_idle()) == 1
    assert seen == [0, 1, 2]
    assert result.get(timeout=1) == "done"
    job = app.jobs.get(result.id)
    assert (job.attempt, job.retries, job.error) == (3, 2, None)
    assert [attempt.number for attempt in app.jobs.attempts(result.id)] == [1, 2]


@pytest.mark.parametrize(("exc", "expected"), [(Busy("codec"), Busy), (None, MaxRetriesExceededError)])
def test_retries_end_after_max_retries(
    app: Trilho, trilho: Harness, exc: Exception | None, expected: type[Exception]
) -> None:
    @app.task(bind=True, max_retries=2)
    def work(self: Any) -> None:
        raise self.retry(exc=exc, countdown=1)

    result = work.delay()
    assert run_out(trilho) == 3
    with pytest.raises(expected):
        result.get(timeout=1)
    assert [attempt.state for attempt in app.jobs.attempts(result.id)] == ["RETRY", "RETRY", "FAILURE"]


def test_retry_may_change_its_arguments_and_options(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def work(self: Any, x: int, y: int = 0) -> None:
        seen.append((x, y, self.request.delivery_info["routing_key"]))
        if len(seen) == 1:
            raise self.retry(args=(2,), kwargs={"y": 3}, countdown=0, queue="low", priority=4)

    result = work.delay(1)
    trilho.run_until_idle()
    assert seen == [(1, 0, "celery"), (2, 3, "low")]
    job = app.jobs.get(result.id)
    assert (job.args, job.kwargs, job.queue, job.priority) == ([2], {"y": 3}, "low", 4)


def test_retry_with_eta_waits_until_then(app: Trilho, trilho: Harness) -> None:
    when = datetime(2100, 1, 1, tzinfo=UTC)

    @app.task(bind=True)
    def work(self: Any) -> None:
        raise self.retry(eta=when)

    result = work.delay()
    trilho.run_until_idle()
    assert app.jobs.get(result.id).next_run_at == when


def test_autoretry_retries_what_it_names_only(app: Trilho, trilho: Harness) -> None:
    @app.task(autoretry_for=(Busy,), max_retries=2, retry_backoff=False, default_retry_delay=1)
    def work(busy: bool) -> None:
        raise Busy("x") if busy else KeyError("y")

    busy, other = work.delay(True), work.delay(False)
    run_out(trilho)
    assert (app.jobs.get(busy.id).attempt, app.jobs.get(other.id).attempt) == (3, 1)
    assert isinstance(busy.result, Busy)
    assert isinstance(other.result, KeyError)


def test_backoff_doubles_up_to_its_bound(app: Trilho, trilho: Harness) -> None:
    @app.task(autoretry_for=(Busy,), max_retries=6, retry_backoff=2, retry_backoff_max=20, retry_jitter=False)
    def work() -> None:
        raise Busy

    result = work.delay()
    pauses = []
    while trilho.run_until_idle() and result.state == "RETRY":
        pauses.append(round(seconds_to_wait(app.jobs.get(result.id))))
        trilho.advance(minutes=1)
    assert [abs(pause - meant) <= 1 for pause, meant in zip(pauses, [2, 4, 8, 16, 20, 20], strict=True)] == [True] * 6


def test_jitter_stays_between_nothing_and_the_backoff(
    app: Trilho, trilho: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoretry, "get_exponential_backoff_interval", get_exponential_backoff_interval)  # not in tests

    @app.task(autoretry_for=(Busy,), retry_backoff=30, retry_jitter=True)
    def work() -> None:
        raise Busy

    results = [work.delay() for _ in range(8)]
    trilho.run_until_idle()
    pauses = [seconds_to_wait(app.jobs.get(result.id)) for result in results]
    assert all(-10 <= pause <= 30 for pause in pauses)  # the machine may be slow to look
    assert len({round(pause) for pause in pauses}) > 1


@pytest.mark.parametrize("ignored", ["task", "call"])
def test_job_whose_result_is_ignored_is_retried_and_ends(app: Trilho, trilho: Harness, ignored: str) -> None:
    @app.task(bind=True, ignore_result=ignored == "task")
    def work(self: Any) -> str:
        if self.request.retries == 0:
            raise self.retry(countdown=5)
        return "not kept"

    result = work.apply_async(**({"ignore_result": True} if ignored == "call" else {}))
    trilho.run_until_idle()
    assert app.jobs.get(result.id).state == "RETRY"
    assert run_out(trilho) == 0
    trilho.advance(seconds=10)
    assert run_out(trilho) == 1
    job = app.jobs.get(result.id)
    assert (job.state, job.result) == ("SUCCESS", None)


def test_job_whose_result_is_ignored_ends_when_it_fails(app: Trilho, trilho: Harness) -> None:
    @app.task(ignore_result=True)
    def work() -> None:
        raise Busy("x")

    result = work.delay()
    trilho.run_until_idle()
    assert app.jobs.get(result.id).state == "FAILURE"


@pytest.mark.parametrize("transactional", [False, True])
def test_retry_without_throwing_runs_again_after_the_body_went_on(
    app: Trilho, trilho: Harness, transactional: bool
) -> None:
    seen: list[Any] = []

    @app.task(bind=True, transactional=transactional)
    def work(self: Any) -> int:
        if self.request.retries == 0:
            seen.append(isinstance(self.retry(countdown=0, throw=False), Retry))
        seen.append("went on")
        return len(seen)

    result = work.delay()
    trilho.run_until_idle()
    assert seen == [True, "went on", "went on"]
    assert result.get(timeout=1) == 3


def test_retry_keeps_expiry_links_and_headers(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task
    def then(value: str) -> None:
        seen.append(value)

    @app.task(bind=True)
    def work(self: Any) -> str:
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return str(self.request.tenant)

    result = work.apply_async(link=then.s(), headers={"tenant": "ana"}, expires=3600)
    before = app.jobs.get(result.id).expires_at
    trilho.run_until_idle()
    assert seen == ["ana"]
    after = app.jobs.get(result.id).expires_at
    assert before is not None
    assert after is not None
    assert abs((after - before).total_seconds()) < 5


def test_signal_and_handler_of_a_retry_are_called(app: Trilho, trilho: Harness) -> None:
    seen: list[str] = []

    class Base(Task[..., Any]):
        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            seen.append(f"on_retry {exc!r}")

    @app.task(bind=True, base=Base)
    def work(self: Any) -> None:
        raise self.retry(exc=Busy("x"), countdown=60)

    work.delay()
    trilho.run_until_idle()
    assert seen == [f"on_retry {Busy('x')!r}"]
