"""Progress: a tight loop cannot flood the database, and the last report is never lost."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from trilho import Trilho
from trilho.jobs.progress import ProgressWriter
from trilho.testing import Harness


def test_report_is_seen_by_everybody_while_the_body_runs(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def work(self: Any) -> None:
        app.progress(1, 4, "first")
        job = app.jobs.get(self.request.id)
        seen.extend([job.state, job.progress, app.AsyncResult(job.id).info])

    work.delay()
    trilho.run_until_idle()
    report = {"current": 1, "total": 4, "percent": 25.0, "message": "first"}
    assert seen == ["PROCESSING", report, report]


def test_tight_loop_writes_seldom_and_its_last_report_is_kept(
    app: Trilho, trilho: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    monkeypatch.setattr(app.runner.progress, "_write", writes_to(writes, app.runner.progress._write))

    @app.task
    def work() -> None:
        for number in range(1, 5001):
            app.progress(number, 5000)

    result = work.delay()
    began = time.monotonic()
    trilho.run_until_idle()
    assert len(writes) <= 2 + (time.monotonic() - began) / app.settings.progress_interval
    job = app.jobs.get(result.id)
    assert job.progress is not None
    assert (job.state, job.progress["current"]) == ("SUCCESS", 5000)


def writes_to(writes: list[str], write: Callable[..., None]) -> Callable[..., None]:
    def remember(*args: Any) -> None:
        writes.append(args[0])
        write(*args)

    return remember


@pytest.mark.parametrize("end", ["failure", "retry"])
def test_last_report_of_an_attempt_that_did_not_succeed_is_kept(app: Trilho, trilho: Harness, end: str) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        for number in range(1, 101):
            app.progress(number, 100)
        raise ValueError if end == "failure" else self.retry(countdown=60)

    result = work.delay()
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    if end == "failure":
        assert job.progress is not None
        assert job.progress["current"] == 100


def test_next_attempt_begins_without_progress(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def work(self: Any) -> None:
        seen.append(app.jobs.get(self.request.id).progress)
        app.progress(1, 2)
        if self.request.retries == 0:
            raise self.retry(countdown=0)

    work.delay()
    trilho.run_until_idle()
    assert seen == [None, None]


def test_percent_needs_a_total(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def work(self: Any, total: float | None) -> None:
        app.progress(1, total)
        seen.append((app.jobs.get(self.request.id).progress or {})["percent"])

    for total in (None, 0, 3):
        work.delay(total)
    trilho.run_until_idle()
    assert seen == [None, None, 33.3]


def test_report_outside_of_a_body_does_nothing(app: Trilho) -> None:
    app.progress(1, 2)


def test_report_that_cannot_be_stored_is_the_bodys_own_error(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        self.update_state(state="X", meta=object())

    result = work.delay()
    trilho.run_until_idle()
    assert isinstance(result.result, TypeError)


def test_report_held_back_is_written_by_a_later_flush(app: Trilho) -> None:
    written: list[str] = []
    writer = ProgressWriter(app.database, interval=0.2)
    writer._write = lambda job_id, token, text, state: written.append(text)  # type: ignore[method-assign]
    token = uuid4()
    for number in range(3):
        writer.report("one", token, str(number), None)
    writer.flush()
    assert written == ["0"]
    time.sleep(0.2)
    writer.flush()
    writer.flush()
    assert written == ["0", "2"]


def test_report_of_a_body_that_is_over_is_never_written_to_the_next(app: Trilho) -> None:
    written: list[tuple[str, str]] = []
    writer = ProgressWriter(app.database, interval=60)
    writer._write = lambda job_id, token, text, state: written.append((job_id, text))  # type: ignore[method-assign]
    writer.report("one", uuid4(), "1", None)
    writer.report("one", uuid4(), "2", None)
    assert writer.end("one") == "2"
    assert writer.end("one") is None
    writer.report("two", uuid4(), "3", None)
    assert written == [("one", "1"), ("two", "3")]


def test_stale_attempt_cannot_report(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        app.runner.progress._write(self.request.id, uuid4(), '{"current":9}', None)
        assert app.jobs.get(self.request.id).progress is None

    result = work.delay()
    trilho.run_until_idle()
    assert result.state == "SUCCESS"
