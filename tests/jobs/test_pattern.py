"""`.delay()` again and again: what is made like the first call is what Celery would have made."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals

from tests.jobs.shop import Query
from trilho import Trilho, trace
from trilho.jobs import pattern
from trilho.jobs.pattern import Pattern
from trilho.trace import Trace

CALLS: list[tuple[Any, Any]] = [(("a", 1), {}), (("b",), {"number": 2}), ((), {"name": "c'd", "number": [3]})]
ROWS = """
    SELECT task, queue, priority, args, kwargs, canvas, headers, run_at <= clock_timestamp(), expires_at, retries,
           max_retries, max_crashes, sends, parent_id, group_id, id = root_id, id
    FROM trilho.jobs ORDER BY id"""


@pytest.fixture
def task(app: Trilho) -> Any:
    @app.task(shared=False, max_retries=7)
    def work(name: str, number: Any = 0) -> None: ...

    return work


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the jobs that are made without Celery."""
    ids: list[str] = []
    make = Pattern.job

    def job(self: Pattern, app: Trilho, call: Any, job_id: str, *options: Any) -> Any:
        ids.append(job_id)
        return make(self, app, call, job_id, *options)

    monkeypatch.setattr(pattern.Pattern, "job", job)
    return ids


@contextmanager
def celery_makes_them() -> Iterator[list[str]]:
    """A block in which each call is published with signals; their ids."""
    told: list[str] = []

    def remember(headers: dict[str, Any], **_: Any) -> None:
        told.append(headers["id"])

    signals.before_task_publish.connect(remember)
    try:
        yield told
    finally:
        signals.before_task_publish.disconnect(remember)


def rows_of(query: Query, ids: list[str]) -> list[tuple[Any, ...]]:
    """The rows of these jobs, but for their ids."""
    found = [row for row in query(ROWS) if row[-1] in ids]
    return [tuple(str(value).replace(row[-1], "ID") for value in row) for row in found]


@pytest.mark.parametrize(
    "options",
    [{}, {"queue": "slow", "priority": 3}, {"time_limit": 5, "soft_time_limit": 3}, {"ignore_result": True}],
    ids=lambda options: "+".join(options),
)
def test_rows_are_those_of_celery(app: Trilho, task: Any, made: list[str], query: Query, options: Any) -> None:
    task.apply_async(*CALLS[0], **options)
    with trace.entered(Trace("operation", "cause", "00-1-2-01", "via")):
        like = [task.apply_async(*call, **options).id for call in CALLS]
        with celery_makes_them() as told:
            celerys = [task.apply_async(*call, **options).id for call in CALLS]
    assert (made, told) == (like, celerys)
    assert rows_of(query, like) == rows_of(query, celerys)
    noted = "SELECT kind, cause, via, name FROM trilho.timeline WHERE id = ANY(%s)"
    assert query(noted, like) == query(noted, celerys)


def test_results_are_as_celerys(task: Any, made: list[str]) -> None:
    first, second = task.apply_async(("a",), ignore_result=True), task.apply_async(("a",), ignore_result=True)
    assert made == [second.id]
    assert (type(first), first.app, first.ignored) == (type(second), second.app, second.ignored)


def test_options_that_say_more_are_left_to_celery(app: Trilho, task: Any, made: list[str], query: Query) -> None:
    task.delay("a")
    task.apply_async(("a",), link=task.si("b"))
    task.apply_async(("a",), expires=60)
    task.apply_async(("a",), countdown=60)
    task.apply_async(("a",), headers={"own": 1})
    (task.si("a") | task.si("b")).delay()
    assert made == []
    assert query("SELECT count(*) FROM trilho.jobs WHERE expires_at IS NOT NULL") == [(1,)]


def test_what_is_changed_meanwhile_counts(app: Trilho, task: Any, made: list[str], query: Query) -> None:
    for _ in range(2):
        task.delay("a")
    task.max_retries = 1
    app.conf.task_default_queue = "other"
    for _ in range(2):
        task.delay("a")
    assert query("SELECT queue, max_retries FROM trilho.jobs ORDER BY id") == [
        ("celery", 7), ("celery", 7), ("other", 1), ("other", 1),
    ]  # fmt: skip
    assert len(made) == 2


def test_replies_go_to_the_thread_that_called(app: Trilho, task: Any, made: list[str], query: Query) -> None:
    task.delay("a")
    oids: list[str] = []

    def call() -> None:
        task.delay("a")
        oids.append(app.thread_oid)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    told = query("SELECT headers::json -> 'properties' ->> 'reply_to' FROM trilho.jobs ORDER BY id")
    assert (len(made), told) == (1, [(app.thread_oid,), (oids[0],)])


@pytest.mark.parametrize("args", ["ab", ("a", 1, 2), (object(),)], ids=["no list", "too many", "no JSON"])
def test_arguments_that_celery_refuses_are_refused(task: Any, query: Query, args: Any) -> None:
    for _ in range(2):
        task.delay("a")
    with pytest.raises(TypeError):
        task.apply_async(args)
    assert query("SELECT count(*) FROM trilho.jobs") == [(2,)]
