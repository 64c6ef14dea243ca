"""Everything that Celery would send becomes a row, durable when the call returns."""

import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from celery import group, signals

from tests.jobs.shop import Query, Shop, Wakeups
from trilho import ConfigurationError, Task, Trilho

Add = Task[[int, int], int]


@pytest.fixture
def add(app: Trilho) -> Add:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


def test_job_is_durable_when_delay_returns(app: Trilho, add: Add, query: Query) -> None:
    result = add.delay(1, y=2)
    [(task, queue, state, args, kwargs)] = query(
        "SELECT task, queue, state, args, kwargs FROM trilho.jobs WHERE id = %s", result.id
    )
    assert (task, queue, state, args, kwargs) == ("add", "celery", "PENDING", "[1]", '{"y":2}')
    job = app.jobs.get(result.id)
    assert (job.args, job.kwargs, job.attempt, job.root_id, job.next_run_at) == ([1], {"y": 2}, 0, result.id, None)


def test_ids_grow_with_time(add: Add) -> None:
    ids = [add.delay(number, 0).id for number in range(50)]
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", i) for i in ids)


def test_wakeup_is_pushed_once_for_each_job(add: Add, wakeups: Wakeups) -> None:
    ids = [add.delay(number, 0).id for number in range(3)]
    assert [job.id for job in wakeups] == ids


def test_job_for_later_gets_no_wakeup(add: Add, wakeups: Wakeups, query: Query) -> None:
    add.apply_async((1, 2), countdown=60)
    assert wakeups == []
    assert query("SELECT sent_at, sends FROM trilho.jobs") == [(None, 0)]


def test_many_are_one_statement_and_come_back_in_order(app: Trilho, add: Add, query: Query) -> None:
    results = app.enqueue_many(add, [(1, 2), {"x": 3, "y": 4}, (5,)], queue="low")
    assert [app.jobs.get(r.id).args or app.jobs.get(r.id).kwargs for r in results] == [[1, 2], {"x": 3, "y": 4}, [5]]
    assert query("SELECT DISTINCT queue FROM trilho.jobs") == [("low",)]
    assert query("SELECT count(DISTINCT xmin::text) FROM trilho.jobs") == [(1,)]


def test_many_with_one_bad_call_enqueue_nothing(app: Trilho, add: Add, query: Query) -> None:
    with pytest.raises(TypeError):
        app.enqueue_many(add, [(1, 2), (1, 2, 3)])
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_group_of_a_thousand_is_one_insert(add: Add, query: Query) -> None:
    group(add.s(number, 1) for number in range(1000)).apply_async()
    assert query("SELECT count(*), count(DISTINCT xmin::text) FROM trilho.jobs") == [(1000, 1)]


def test_task_may_be_sent_by_a_name_that_nobody_knows_here(app: Trilho) -> None:
    result = app.send_task("elsewhere.pack", args=[1], kwargs={"b": 2}, queue="packing")
    job = app.jobs.get(result.id)
    assert (job.task, job.args, job.kwargs, job.queue, job.state) == (
        "elsewhere.pack",
        [1],
        {"b": 2},
        "packing",
        "PENDING",
    )


def test_signature_and_custom_base_end_in_rows_too(app: Trilho) -> None:
    class Base(Task[..., Any]):
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async(args, kwargs, **{"queue": "base", **options})

    @app.task(base=Base)
    def based() -> None: ...

    assert app.jobs.get(based.delay().id).queue == "base"
    assert app.jobs.get(based.s().set(priority=2).delay().id).priority == 2


def test_routes_decide_where_it_goes(app: Trilho) -> None:
    app.conf.task_routes = {"routed": {"queue": "videos", "priority": 7}}

    @app.task(name="routed")
    def routed() -> None: ...

    job = app.jobs.get(routed.delay().id)
    assert (job.queue, job.priority) == ("videos", 7)


@pytest.fixture
def published() -> Iterator[list[tuple[str, str, str]]]:
    """What Celery's publish signals said: before or after, the task, the queue."""
    seen: list[tuple[str, str, str]] = []

    def before(sender: str, routing_key: str, headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "on"
        seen.append(("before", sender, routing_key))

    def after(sender: str, routing_key: str, **_: Any) -> None:
        seen.append(("after", sender, routing_key))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    yield seen
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)


def test_publish_signals_are_sent_and_may_add_headers(
    add: Add, published: list[tuple[str, str, str]], query: Query
) -> None:
    add.apply_async((1, 2), queue="low")
    assert published == [("before", "add", "low"), ("after", "add", "low")]
    assert query("SELECT headers::json ->> 'trace' FROM trilho.jobs") == [("on",)]


def test_direct_call_runs_here_and_enqueues_nothing(add: Add, query: Query) -> None:
    assert add(1, 2) == 3
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


# ---- what cannot be reached is an error


@pytest.fixture
def unreachable(unused_tcp_port: int) -> Iterator[Shop]:
    shop = Shop(database=f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none")
    shop.settings.__dict__["connect_timeout"] = 0.3
    yield shop
    shop.database.close()
    shop.close()


@pytest.fixture
def unused_tcp_port() -> int:
    """Port 1 is reserved and nothing listens there."""
    return 1


def test_enqueue_without_postgresql_is_an_error_and_never_a_false_success(unreachable: Shop) -> None:
    @unreachable.task
    def noop() -> None: ...

    began = time.monotonic()
    for call in (noop.delay, lambda: unreachable.send_task("elsewhere"), lambda: unreachable.enqueue_many(noop, [()])):
        with pytest.raises(psycopg.OperationalError):
            call()
    with pytest.raises(psycopg.OperationalError), unreachable.transaction():
        noop.delay()
    assert unreachable.wakeups == []
    assert time.monotonic() - began < 20


def test_missing_url_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    shop = Shop()

    @shop.task
    def noop() -> None: ...

    with pytest.raises(ConfigurationError, match="TRILHO_DATABASE_URL is not set"):
        noop.delay()


def test_backend_argument_is_accepted_with_one_warning(database: str) -> None:
    with pytest.warns(UserWarning, match="backend= is not used"):
        Shop(database=database, backend="redis://localhost").close()
