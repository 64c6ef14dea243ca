"""`enqueue_many`: what it makes itself is what Celery would have made of each call."""

from typing import Any

import pytest
from celery import signals

from trilho import PayloadTooLarge, Trilho

ITEMS: list[Any] = [("a", 1), ("b", 2), {"name": "c", "number": 3}, ("d", 4)]
VARIES = {"id", "root_id", "run_at", "created_at", "expires_at", "sent_at", "headers"}


@pytest.fixture
def task(app: Trilho) -> Any:
    @app.task(shared=False)
    def work(name: str, number: int = 0) -> None: ...

    return work


def rows(app: Trilho) -> list[dict[str, Any]]:
    def read(connection: Any) -> list[dict[str, Any]]:
        cursor = connection.execute("SELECT to_jsonb(j) FROM trilho.jobs j ORDER BY id")
        return [row[0] for row in cursor]

    return app.database.run(read)


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs from call to call."""
    return {name: value for name, value in row.items() if name not in VARIES}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "slow", "priority": 3},
        {"countdown": 60},
        {"expires": 600},
        {"time_limit": 5, "soft_time_limit": 3},
    ],
    ids=lambda options: "+".join(options),
)
def test_rows_are_those_of_single_calls(app: Trilho, task: Any, options: dict[str, Any]) -> None:
    app.enqueue_many(task, ITEMS, **options)
    many = rows(app)
    app.database.run(lambda connection: connection.execute("TRUNCATE trilho.jobs"))
    for item in ITEMS:
        args, kwargs = ((), item) if isinstance(item, dict) else (item, {})
        task.apply_async(args, kwargs, **options)
    single = rows(app)
    assert [kept(row) for row in many] == [kept(row) for row in single]
    for one, other in zip(many, single, strict=True):
        assert one["headers"].replace(one["id"], "") == other["headers"].replace(other["id"], "")
        assert (one["root_id"], bool(one["expires_at"])) == (one["id"], bool(other["expires_at"]))


def test_results_are_in_order_and_known(app: Trilho, task: Any) -> None:
    results = app.enqueue_many(task, [(str(number),) for number in range(50)])
    assert [result.id for result in results] == [row["id"] for row in rows(app)]
    assert len({result.id for result in results}) == 50
    assert all(result.exists() for result in results[:3])


@pytest.mark.parametrize("bad", [("x", object()), (), ("a", 1, 2)])
def test_item_that_cannot_be_enqueued_is_refused_with_all_others(app: Trilho, task: Any, bad: Any) -> None:
    with pytest.raises(TypeError):
        app.enqueue_many(task, [("a", 1), bad])
    assert rows(app) == []


def test_item_that_is_too_large_is_refused(app: Trilho, task: Any) -> None:
    with pytest.raises(PayloadTooLarge):
        app.enqueue_many(task, [("a", 1), ("x" * app.settings.max_payload, 1)])


def test_signals_are_sent_for_each_call(app: Trilho, task: Any) -> None:
    told: list[str] = []

    def remember(headers: dict[str, Any], **_: Any) -> None:
        told.append(headers["id"])

    signals.before_task_publish.connect(remember)
    try:
        results = app.enqueue_many(task, ITEMS)
    finally:
        signals.before_task_publish.disconnect(remember)
    assert told == [result.id for result in results]


def test_routes_that_look_at_arguments_are_asked_for_each_call(app: Trilho, task: Any) -> None:
    def route(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> dict[str, str]:
        return {"queue": f"of-{args[0]}"}

    app.conf.task_routes = (route,)
    app.amqp.flush_routes() if hasattr(app.amqp, "flush_routes") else None
    app.enqueue_many(task, [("a",), ("b",)])
    assert [row["queue"] for row in rows(app)] == ["of-a", "of-b"]


def test_jobs_of_a_task_of_ones_own_go_through_its_own_method(app: Trilho) -> None:
    class Own(app.Task):  # type: ignore[name-defined, misc]
        def apply_async(self, *args: Any, **options: Any) -> Any:
            return super().apply_async(*args, **options | {"queue": "own"})

    @app.task(base=Own, shared=False)
    def work(name: str) -> None: ...

    app.enqueue_many(work, [("a",), ("b",)])
    assert [row["queue"] for row in rows(app)] == ["own", "own"]
