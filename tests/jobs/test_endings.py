"""How a body ends its job: Ignore, Reject, states of its own, and results and errors that cannot be stored."""

import json
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain, chord, signals, states
from celery.exceptions import Ignore, Reject

from trilho import Task, Trilho
from trilho.testing import Harness


def test_ignored_job_ends_so_that_nobody_waits_for_ever(app: Trilho, trilho: Harness) -> None:
    @app.task
    def work() -> None:
        raise Ignore

    result = work.delay()
    trilho.run_until_idle()
    assert result.get(timeout=1) is None
    assert app.jobs.get(result.id).state == "SUCCESS"


def test_state_that_the_body_wrote_before_ignore_is_kept(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        self.update_state(
            state=states.FAILURE, meta={"exc_type": "ValueError", "exc_message": "own", "exc_module": "builtins"}
        )
        raise Ignore

    result = work.delay()
    trilho.run_until_idle()
    assert result.state == "FAILURE"
    with pytest.raises(ValueError, match="own"):
        result.get(timeout=1)


def test_custom_state_is_seen_while_the_body_runs_and_its_meta_afterwards(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def work(self: Any) -> None:
        self.update_state(state="RENDERING", meta={"frame": 7})
        result = app.AsyncResult(self.request.id)
        seen.append((result.state, result.info, app.jobs.get(self.request.id).state))
        raise Ignore

    result = work.delay()
    trilho.run_until_idle()
    assert seen == [("RENDERING", {"frame": 7}, "PROCESSING")]
    job = app.jobs.get(result.id)
    assert (job.state, job.progress) == ("SUCCESS", {"frame": 7})


def test_rejected_job_is_a_failure_with_its_reason(app: Trilho, trilho: Harness) -> None:
    @app.task
    def work() -> None:
        raise Reject("not for me", requeue=False)

    result = work.delay()
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (job.state, job.error) == ("FAILURE", "Rejected: not for me")
    with pytest.raises(Reject):
        result.get(timeout=1)


def test_job_rejected_with_requeue_runs_again_after_a_pause(app: Trilho, trilho: Harness) -> None:
    seen: list[int] = []

    @app.task(bind=True)
    def work(self: Any) -> str:
        seen.append(self.request.retries)
        if len(seen) == 1:
            raise Reject("later", requeue=True)
        return "done"

    result = work.delay()
    trilho.run_until_idle()
    assert app.jobs.get(result.id).state == "PENDING"
    trilho.advance(seconds=2)
    trilho.run_until_idle()
    assert result.get(timeout=1) == "done"
    assert seen == [0, 0]
    assert [attempt.state for attempt in app.jobs.attempts(result.id)] == ["RELEASED"]


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "cannot be stored as JSON"),
        ("x" * 1_000_001, "TRILHO_MAX_PAYLOAD"),
        (json.loads("[" * 300 + "]" * 300), "nested deeper than 200 levels"),
    ],
    ids=["object", "large", "deep"],
)
def test_result_that_cannot_be_stored_is_a_failure_with_the_reason(
    app: Trilho, trilho: Harness, transactional: bool, value: Any, reason: str
) -> None:
    seen: list[str] = []

    @app.task
    def then() -> None:
        seen.append("linked")

    @app.task(transactional=transactional)
    def work() -> Any:
        return value

    result = work.apply_async(link=then.si())
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert job.state == "FAILURE"
    assert reason in str(job.error)
    assert seen == []


def test_result_that_the_next_step_cannot_be_given_is_a_failure_of_the_chain(app: Trilho, trilho: Harness) -> None:
    @app.task
    def work() -> Any:
        return object()

    @app.task
    def then(value: Any) -> None: ...

    result = chain(work.s(), then.s()).apply_async()
    trilho.run_until_idle()
    assert (result.parent.state, result.state) == ("FAILURE", "FAILURE")
    assert "cannot be stored" in str(app.jobs.get(result.parent.id).error)


@pytest.mark.parametrize(
    "words", ["a\x00b", "half \ud800 pair", "x" * 5_000_000, ""], ids=["NUL", "surrogate", "long", "empty"]
)
def test_exception_with_any_text_ends_the_job(
    app: Trilho, trilho: Harness, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "celery.app.trace")  # xdist cannot carry every text either

    @app.task
    def work() -> None:
        raise ValueError(words)

    result = work.delay()
    trilho.run_until_idle(limit=3)
    job = app.jobs.get(result.id)
    assert job.state == "FAILURE"
    assert str(job.error).startswith("ValueError")


class Unpicklable(Exception):
    """Its arguments cannot be stored."""

    def __init__(self, thing: object) -> None:
        super().__init__(thing)


def test_exception_with_arguments_that_cannot_be_stored_ends_the_job(app: Trilho, trilho: Harness) -> None:
    @app.task
    def work() -> None:
        raise Unpicklable(object())

    result = work.delay()
    trilho.run_until_idle(limit=3)
    assert app.jobs.get(result.id).state == "FAILURE"
    with pytest.raises(Exception, match=r"Unpicklable|object"):
        result.get(timeout=1)


class Watched(Task[..., Any]):
    """Writes down which of its handlers were called."""

    abstract = True
    seen: list[str]

    def before_start(self, *_: Any) -> None:
        self.seen.append("before_start")

    def on_success(self, *_: Any) -> None:
        self.seen.append("on_success")

    def on_failure(self, *_: Any) -> None:
        self.seen.append("on_failure")

    def after_return(self, status: str, *_: Any) -> None:
        self.seen.append(f"after_return {status}")


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """The names of Celery's signals for the task `watched`, as they come."""
    seen: list[str] = []
    names = ("task_prerun", "task_postrun", "task_success", "task_failure")

    def receiver(name: str) -> Callable[..., None]:
        return lambda sender=None, **_: seen.append(name) if getattr(sender, "name", None) == "watched" else None

    receivers = {name: receiver(name) for name in names}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive, weak=False)
    yield seen
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (False, "task_prerun before_start body on_success task_success after_return:SUCCESS task_postrun"),
        (True, "task_prerun before_start body on_failure task_failure after_return:FAILURE task_postrun"),
    ],
)
def test_handlers_and_signals_are_celerys(
    app: Trilho, trilho: Harness, seen: list[str], fails: bool, expected: str
) -> None:
    @app.task(base=Watched, name="watched")
    def watched() -> None:
        seen.append("body")
        if fails:
            raise ValueError

    app.tasks["watched"].seen = seen
    watched.delay()
    trilho.run_until_idle()
    assert [name.replace(" ", ":") for name in seen] == expected.split()


@pytest.mark.parametrize("how", ["ignore", "reject"])
def test_chain_behind_a_step_that_ended_without_a_result_does_not_wait_for_ever(
    app: Trilho, trilho: Harness, how: str
) -> None:
    @app.task
    def work() -> None:
        raise Ignore if how == "ignore" else Reject("no", requeue=False)

    @app.task
    def then(value: Any) -> None: ...

    @app.task
    def total(values: Any) -> None: ...

    linked = chain(work.s(), then.s()).apply_async()
    fanned = chord([work.s(), work.s()])(total.s())
    trilho.run_until_idle()
    assert linked.ready()
    assert fanned.ready()


def test_job_of_a_task_that_vanished_stays_and_says_why(app: Trilho, trilho: Harness, connection: Any) -> None:
    from uuid import uuid4

    from trilho.jobs.runner import SliceOrder

    result = app.send_task("elsewhere")
    app.runner.work(SliceOrder((result.id,), uuid4(), uuid4(), "w", 0))
    job = app.jobs.get(result.id)
    assert job.state == "PENDING"
    assert "does not know the task elsewhere" in str(job.error)


def test_any_body_ends_its_job(app: Trilho, trilho: Harness) -> None:
    """Whatever a body raises that Celery catches, the row comes to an end or to a retry."""
    errors = [
        ValueError("x"),
        KeyError(),
        OSError(2, "y"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "z"),
        StopIteration(1),
    ]
    errors += [AssertionError(), RecursionError("r"), TimeoutError(), type("Own", (Exception,), {})("own")]

    @app.task
    def work(number: int) -> None:
        raise errors[number]

    order = list(range(len(errors)))
    random.shuffle(order)
    results = [work.delay(number) for number in order]
    trilho.run_until_idle()
    assert {result.state for result in results} == {"FAILURE"}
