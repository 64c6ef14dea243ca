"""While a key is held, a second enqueue gets the first job; nobody waits for somebody else's open transaction."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeAlias

import psycopg
import pytest
from celery import chain, chord, group
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.jobs.shop import Query, Shop, Undo, Wakeups, rolled_back
from tests.lab import database as databases
from tests.lab.database import Connection
from trilho import DuplicateJob, JobStateError, KeyHeld, Result, Trilho, Unique
from trilho.db import pending
from trilho.db.pending import Execute
from trilho.db.pool import sqlalchemy_url
from trilho.dispatcher.endings import Decide
from trilho.jobs.unique import MAX_KEY, storable
from trilho.testing import Harness

Send: TypeAlias = Callable[..., Result[Any]]
BRIEF = 5.0  # seconds on a loaded machine; waiting for an open transaction would never end


@pytest.fixture(autouse=True)
def _nobody_waits_for_ever(database: str) -> None:
    """A wait for a lock is an error, for who holds it is often the thread that waits."""
    with databases.connect(database) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET lock_timeout = '10s'".encode())


@pytest.fixture
def send(app: Trilho) -> Send:
    """Enqueues a unique job; its body returns the first argument."""

    @app.task(name="send", unique=True)
    def send(to: str, copies: int = 1) -> str:
        return to

    def call(*args: Any, **options: Any) -> Result[Any]:
        result: Result[Any] = send.apply_async(args or ("ana",), options.pop("kwargs", None), **options)
        return result

    return call


@pytest.fixture
def decide(app: Trilho, connection: Connection) -> Callable[[], None]:
    """What the dispatcher does at each tick."""
    loop = Decide(app)

    def until_nothing_changes() -> None:
        while loop(connection):
            pass

    return until_nothing_changes


@contextmanager
def elsewhere(database: str) -> Iterator[Shop]:
    """The application in another process, so to speak: with a pool of its own."""
    app = Shop(database=database)

    @app.task(name="send", unique=True)
    def send(to: str, copies: int = 1) -> str:
        return to

    try:
        yield app
    finally:
        app.database.close()
        app.close()


@contextmanager
def brief() -> Iterator[None]:
    """Fails when the block waits for somebody."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BRIEF


def jobs(query: Query) -> list[tuple[Any, ...]]:
    return query("SELECT id, state, held FROM trilho.jobs ORDER BY created_at")


def finish(query: Query, job: Result[Any], state: str = "SUCCESS") -> None:
    query("UPDATE trilho.jobs SET state = %s, finished_at = now() WHERE id = %s", state, job.id)


# ---- one after the other


def test_second_call_gets_the_first_job_and_inserts_nothing(send: Send, query: Query, wakeups: Wakeups) -> None:
    first, second = send(), send()
    assert second.id == first.id
    assert jobs(query) == [(first.id, "PENDING", False)]
    assert [job.id for job in wakeups] == [first.id]


def test_second_handle_waits_for_the_first_job(send: Send, trilho: Harness) -> None:
    first, second = send("rui"), send("rui")
    trilho.run_until_idle()
    assert first.get(timeout=5) == second.get(timeout=5) == "rui"


def test_other_arguments_are_another_job(send: Send) -> None:
    assert len({send("ana").id, send("rui").id, send("ana", 2).id}) == 3


def test_same_arguments_are_told_however_they_are_written(app: Trilho, send: Send) -> None:
    sent = [send("ana"), send("ana", 1), send("ana", kwargs={"copies": 1}), app.send_task("send", kwargs={"to": "ana"})]
    assert len({job.id for job in sent}) == 1


@pytest.mark.parametrize("state", ["STARTED", "PROCESSING", "RETRY"])
def test_key_is_held_until_the_job_is_finished(app: Trilho, send: Send, query: Query, state: str) -> None:
    first = send()
    query("UPDATE trilho.jobs SET state = %s, claim_token = gen_random_uuid(), worker = gen_random_uuid()", state)
    assert send().id == first.id


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_finished_job_leaves_its_key(send: Send, query: Query, state: str) -> None:
    first = send()
    finish(query, first, state)
    second = send()
    assert second.id != first.id
    assert send().id == second.id


def test_key_until_started_is_free_while_the_body_runs(app: Trilho, trilho: Harness) -> None:
    @app.task(unique=Unique(until="started"))
    def reindex(depth: int = 1) -> list[str]:
        return [reindex.delay(0).id, reindex.delay(0).id] if depth else []

    first = reindex.delay()
    assert reindex.delay().id == first.id
    ids: list[list[str]] = []

    @app.task(unique=Unique("mine", until="started"))
    def again(depth: int = 1) -> None:
        if depth:
            ids.append([again.delay(0).id, again.delay(0).id])

    job = again.delay()
    trilho.run_until_idle()
    [[one, other]] = ids
    assert one == other != job.id


def test_key_for_a_time_outlives_its_job(app: Trilho, query: Query) -> None:
    @app.task(unique=Unique(within=timedelta(hours=1)))
    def remind(to: str) -> None: ...

    first = remind.delay("ana")
    finish(query, first)
    assert remind.delay("ana").id == first.id
    query("UPDATE trilho.job_keys SET expires_at = expires_at - interval '1 hour'")
    assert remind.delay("ana").id != first.id


def test_forgotten_job_leaves_its_key(app: Trilho, query: Query) -> None:
    @app.task(unique=Unique(within=3600))
    def remind() -> None: ...

    first = remind.delay()
    finish(query, first)
    first.forget()
    assert query("SELECT 1 FROM trilho.job_keys") == []
    assert remind.delay().id != first.id


# ---- which key


def test_key_of_some_parameters(app: Trilho) -> None:
    @app.task(unique=Unique(key=("user",)))
    def mail(user: int, text: str = "") -> None: ...

    assert mail.delay(1, "a").id == mail.delay(text="b", user=1).id != mail.delay(2, "a").id


def test_key_of_a_function_of_the_call(app: Trilho) -> None:
    @app.task(unique=Unique(key=lambda user, **_: f"user-{user % 10}"))
    def mail(user: int) -> None: ...

    assert mail.delay(1).id == mail.delay(11).id != mail.delay(2).id


def test_key_belongs_to_its_task(app: Trilho) -> None:
    @app.task(unique=Unique("nightly"))
    def one(number: int) -> None: ...

    @app.task(unique=Unique("nightly"))
    def other(number: int) -> None: ...

    assert one.delay(1).id == one.delay(2).id != other.delay(1).id


def test_call_decides_over_its_task(app: Trilho, send: Send) -> None:
    assert send().id != send(unique=False).id
    assert send(unique=Unique("x")).id == send("rui", unique=Unique("x")).id != send("rui").id


def test_name_alone_will_do(app: Trilho) -> None:
    calls = [app.send_task("elsewhere", args=[1], kwargs={"b": 2}, unique=True).id for _ in range(2)]
    assert len(set(calls)) == 1


def test_task_that_is_not_bound_yet_has_its_option(database: str) -> None:
    with elsewhere(database) as app:
        assert app.send_task("send", args=["ana"]).id == app.send_task("send", kwargs={"to": "ana"}).id


def test_parameter_that_the_call_does_not_have_is_named(app: Trilho, query: Query) -> None:
    with pytest.raises(TypeError, match="'user'"):
        app.send_task("elsewhere", args=[1], unique=Unique(key=("user",)))
    assert jobs(query) == []


@pytest.mark.parametrize(
    "options", [{"until": "never"}, {"within": 0}, {"within": timedelta(-1)}, {"within": 1, "until": "started"}]
)
def test_senseless_uniqueness_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(until|within)="):
        Unique(**options)


def test_wrong_kind_of_uniqueness_is_refused(send: Send) -> None:
    with pytest.raises(TypeError, match=r"trilho\.Unique"):
        send(unique="key")


@given(st.text(), st.text())
def test_keys_are_stored_short_and_told_apart(one: str, other: str) -> None:
    for a, b in ((one, other), (one * 300, other * 300), ("x" * 300 + one, "x" * 300 + other)):
        stored = storable(a), storable(b)
        assert all(len(text) <= MAX_KEY and "\x00" not in text for text in stored)
        assert (stored[0] == stored[1]) == (a == b)


def test_long_key_stays_readable(app: Trilho, send: Send, query: Query) -> None:
    assert send("x" * 1000).id == send("x" * 1000).id != send("x" * 1000 + "y").id
    assert all(key.startswith('send {"copies":1,"to":"xxx') for (key,) in query("SELECT key FROM trilho.job_keys"))


# ---- in company


def test_many_in_one_statement_share_the_first(app: Trilho, query: Query) -> None:
    @app.task(unique=True)
    def work(number: int) -> None: ...

    known = work.delay(0)
    ids = [result.id for result in app.enqueue_many(work, [(0,), (1,), (2,), (1,)])]
    assert ids[0] == known.id
    assert ids[1] == ids[3] != ids[2]
    assert len(jobs(query)) == 3


def test_more_keys_than_a_transaction_may_lock_are_taken_all_the_same(app: Trilho, query: Query) -> None:
    @app.task(unique=True)
    def work(number: int) -> None: ...

    with app.transaction():
        results = app.enqueue_many(work, [(number,) for number in range(200)])
        [(locks,)] = query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert 0 < locks <= 32 + 2 * 64
    assert query("SELECT count(*), count(*) FILTER (WHERE held) FROM trilho.jobs") == [(200, 0)]
    assert [result.id for result in app.enqueue_many(work, [(n,) for n in range(200)])] == [r.id for r in results]


def test_same_id_and_key_are_the_same_job_and_other_content_is_refused(send: Send, query: Query) -> None:
    first = send("ana", task_id="mine")
    assert send("ana", task_id="mine").id == first.id == "mine"
    finish(query, first)
    assert send("ana", task_id="mine").id == "mine"
    with pytest.raises(DuplicateJob):
        send("rui", task_id="mine")
    assert len(jobs(query)) == 1


def test_lost_answer_of_the_commit_is_not_a_duplicate_of_itself(
    app: Trilho, send: Send, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True])

    def lossy(connection: Connection) -> Execute:
        def execute(statement: str, values: Any) -> Any:
            rows = connection.execute(statement.encode(), values).fetchall()
            if next(answers, False):
                connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return rows

        return execute

    monkeypatch.setattr(pending, "executor", lossy)
    first = send()
    assert next(answers, "asked twice") == "asked twice"
    assert jobs(query) == [(first.id, "PENDING", False)]


def test_rolled_back_job_leaves_nothing(app: Trilho, send: Send, query: Query) -> None:
    with rolled_back(app):
        assert send().id == send().id
    assert query("SELECT 1 FROM trilho.job_keys") == []
    assert send().exists()


def test_savepoint_gives_its_key_back(app: Trilho, send: Send, query: Query) -> None:
    with app.transaction() as tx:
        with suppress(Undo), tx.savepoint():
            send()
            raise Undo
        second, third = send(), send()
    assert second.id == third.id
    assert jobs(query) == [(second.id, "PENDING", False)]


def test_handle_in_a_transaction_is_right_at_once(app: Trilho, send: Send) -> None:
    first = send()
    with app.transaction() as tx:
        assert send().id == first.id
        new = send("rui")
        assert send("rui").id == new.id
        assert tx.session.execute(text("SELECT count(*) FROM trilho.jobs")).scalar_one() == 2
    assert new.exists()


def test_wakeup_leaves_after_the_commit(app: Trilho, send: Send, wakeups: Wakeups) -> None:
    with app.transaction():
        job = send()
        assert wakeups == []
    assert [each.id for each in wakeups] == [job.id]


def test_async_transaction_settles_its_handles_at_the_commit(app: Trilho, send: Send, query: Query) -> None:
    first = send()

    async def enqueue() -> list[str]:
        async with app.atransaction() as tx:
            await tx.session.execute(text("SELECT 1"))
            results = [send(), send("rui"), send("rui")]
        return [result.id for result in results]

    known, new, same = asyncio.run(_disposing(app, enqueue))
    assert known == first.id
    assert new == same
    assert len(jobs(query)) == 2


async def _disposing(app: Trilho, run: Callable[[], Any]) -> Any:
    try:
        return await run()
    finally:
        await app.database.async_engine.dispose()


def test_await_without_a_transaction(app: Trilho, query: Query) -> None:
    @app.task(unique=True)
    def work(number: int) -> None: ...

    async def twice() -> list[str]:
        return [(await work.adelay(1)).id, (await work.adelay(1)).id]

    assert len(set(asyncio.run(twice()))) == len(jobs(query)) == 1


def test_joined_session_and_connection(app: Trilho, database: str, query: Query) -> None:
    @app.task(unique=True)
    def work(number: int) -> None: ...

    engine = create_engine(sqlalchemy_url(database))
    with Session(engine) as session:
        first = app.join(session).delay(work, 1)
        assert app.join(session).delay(work, 1).id == first.id
        session.commit()
        lost = app.join(session).delay(work, 2)
        session.rollback()
    engine.dispose()
    with psycopg.connect(database) as raw:
        assert app.join(raw).delay(work, 1).id == first.id
        new = app.join(raw).delay(work, 2)
        assert app.join(raw).delay(work, 2).id == new.id != lost.id
    assert [job_id for job_id, _, _ in jobs(query)] == [first.id, new.id]


def test_joined_async_session_settles_its_handles_at_the_commit(app: Trilho, database: str, query: Query) -> None:
    @app.task(unique=True)
    def work(number: int) -> None: ...

    first = work.delay(1)

    async def enqueue() -> Result[None]:
        engine = create_async_engine(sqlalchemy_url(database))
        async with AsyncSession(engine) as session:
            second = app.join(session).delay(work, 1)
            await session.commit()
        await engine.dispose()
        return second

    assert asyncio.run(enqueue()).id == first.id
    assert len(jobs(query)) == 1


# ---- in the life of a job


def test_retry_keeps_the_key(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True, unique=True, max_retries=1)
    def flaky(self: Any) -> None:
        raise self.retry(countdown=60)

    first = flaky.delay()
    trilho.run_until_idle()
    assert first.state == "RETRY"
    assert flaky.delay().id == first.id


def test_body_that_sends_itself_gets_itself(app: Trilho, trilho: Harness, query: Query) -> None:
    @app.task(unique=True)
    def tick() -> str:
        return str(tick.delay().id)

    first = tick.delay()
    trilho.run_until_idle()
    assert first.get(timeout=5) == first.id
    assert len(jobs(query)) == 1


def test_job_that_runs_again_takes_its_key_again(app: Trilho, send: Send, query: Query) -> None:
    first = send()
    finish(query, first, "FAILURE")
    assert app.jobs.retry(first.id).state == "PENDING"
    assert send().id == first.id


def test_job_cannot_run_again_beside_the_one_that_has_its_key(app: Trilho, send: Send, query: Query) -> None:
    first = send()
    finish(query, first, "FAILURE")
    second = send()
    with pytest.raises(KeyHeld, match=second.id):
        app.jobs.retry(first.id)
    assert issubclass(KeyHeld, JobStateError)
    assert app.jobs.get(first.id).state == "FAILURE"
    finish(query, second)
    assert app.jobs.retry(first.id).state == "PENDING"
    assert send().id == first.id


# ---- in a canvas


def test_canvas_gives_its_ids_out_before_so_that_its_steps_are_not_unique(
    app: Trilho, trilho: Harness, query: Query
) -> None:
    @app.task(unique=True)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    add.delay(1, 1)
    results = [chain(add.s(1, 1), add.s(1)).apply_async() for _ in range(2)]
    both = group(add.s(1, 1), add.s(1, 1)).apply_async()
    summed = chord([add.s(1, 1), add.s(1, 1)], total.s()).apply_async()
    trilho.run_until_idle()
    assert [result.get(timeout=5) for result in results] == [3, 3]
    assert both.get(timeout=5) == [2, 2]
    assert summed.get(timeout=5) == 4
    assert query("SELECT count(*) FROM trilho.job_keys") == [(1,)]


def test_uniqueness_asked_for_in_a_canvas_is_refused(app: Trilho, send: Send, query: Query) -> None:
    with pytest.raises(ValueError, match="canvas"):
        chain(app.tasks["send"].s("ana").set(unique=True), app.tasks["send"].s()).apply_async()
    with pytest.raises(ValueError, match="canvas"):
        send(unique=True, link=app.tasks["send"].s())
    assert jobs(query) == []


# ---- against open transactions of others


@pytest.mark.parametrize("commit", [True, False])
def test_nobody_waits_for_an_open_transaction_and_one_job_is_left(
    send: Send, database: str, query: Query, decide: Callable[[], None], commit: bool
) -> None:
    with elsewhere(database) as other, suppress(Undo), other.transaction():
        first = other.send_task("send", args=["ana"])
        with brief():
            second, third = send(), send()
        decide()
        assert jobs(query) == [(second.id, "PENDING", True)]
        assert second.id == third.id != first.id
        if not commit:
            raise Undo
    with brief():
        fourth = send()
    decide()
    if commit:
        assert {job_id: state for job_id, state, _ in jobs(query)} == {first.id: "PENDING", second.id: "REVOKED"}
        assert query("SELECT error FROM trilho.jobs WHERE id = %s", second.id) == [(f"duplicate of {first.id}",)]
        assert fourth.id == first.id
    else:
        assert jobs(query) == [(second.id, "PENDING", False)]
        assert fourth.id == second.id
    assert send().id == (first if commit else second).id


def test_contender_runs_after_the_rollback_and_the_loser_never_does(
    app: Trilho, trilho: Harness, send: Send, database: str, decide: Callable[[], None]
) -> None:
    with elsewhere(database) as other:
        with suppress(Undo), other.transaction():
            other.send_task("send", args=["ana"])
            winner = send()
            assert trilho.run_until_idle() == []
            raise Undo
        decide()
        assert [job.id for job in trilho.run_until_idle()] == [winner.id]
        with other.transaction():
            other.send_task("send", args=["ana"])
            loser = send()
    decide()
    assert loser.id not in {job.id for job in trilho.run_until_idle()}
    with pytest.raises(Exception, match="duplicate of"):
        loser.get(timeout=5)


def test_contender_that_is_cancelled_gives_way(
    app: Trilho, send: Send, database: str, query: Query, decide: Callable[[], None]
) -> None:
    with elsewhere(database) as other, other.transaction():
        first = other.send_task("send", args=["ana"])
        app.jobs.cancel(send().id)
        second = send()
        app.jobs.cancel(second.id)
    decide()
    assert query("SELECT 1 FROM trilho.job_keys WHERE contends") == []
    assert send().id == first.id


def test_open_transaction_that_looks_at_an_old_snapshot_takes_no_key(
    app: Trilho, send: Send, database: str, query: Query, decide: Callable[[], None]
) -> None:
    with psycopg.connect(database) as raw:
        raw.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        raw.execute("SELECT 1")
        first = send()
        second = app.join(raw).delay(app.tasks["send"], "ana")
        assert second.id != first.id
    decide()
    states = {job_id: state for job_id, state, _ in jobs(query)}
    assert states == {first.id: "PENDING", second.id: "REVOKED"}


def test_finished_job_may_run_again_while_an_open_transaction_wants_its_key(
    app: Trilho, send: Send, database: str, query: Query, decide: Callable[[], None]
) -> None:
    first = send()
    finish(query, first, "FAILURE")
    with elsewhere(database) as other, suppress(Undo), other.transaction():
        other.send_task("send", args=["ana"])
        with brief():
            assert app.jobs.retry(first.id).state == "PENDING"
        decide()
        assert jobs(query) == [(first.id, "PENDING", True)]
        raise Undo
    decide()
    assert jobs(query) == [(first.id, "PENDING", False)]
    assert send().id == first.id


def test_of_many_that_contend_the_first_one_stays(
    app: Trilho, send: Send, database: str, query: Query, decide: Callable[[], None]
) -> None:
    apart = threading.Barrier(5)

    def contend() -> str:
        with elsewhere(database) as one, one.transaction() as tx:
            tx.session.execute(text("SELECT 1"))
            job_id = str(one.send_task("send", args=["ana"]).id)
            apart.wait(20)
            return job_id

    with elsewhere(database) as other, suppress(Undo), ThreadPoolExecutor(4) as pool, other.transaction():
        other.send_task("send", args=["ana"])
        futures = [pool.submit(contend) for _ in range(4)]
        apart.wait(20)
        ids = sorted(future.result() for future in futures)
        raise Undo
    decide()
    states = {job_id: state for job_id, state, _ in jobs(query)}
    assert states == {job_id: "PENDING" if job_id == ids[0] else "REVOKED" for job_id in ids}


def test_of_many_threads_one_job_runs_at_a_time(
    app: Trilho, send: Send, query: Query, database: str, decide: Callable[[], None]
) -> None:
    """At most one job of the key ever waits or runs, however many enqueue it and end it at the same time."""
    apps, over = [Shop(database=database) for _ in range(8)], threading.Event()
    most, ended = 0, 0

    def enqueue(shop: Shop) -> None:
        for _ in range(50):
            with brief():
                shop.send_task("send", args=["ana"], unique=True)

    def watch_and_end() -> None:
        nonlocal most, ended
        with databases.connect(database) as watching:
            while not over.is_set():
                decide()
                live = "finished_at IS NULL AND NOT held"
                rows = watching.execute(f"SELECT id FROM trilho.jobs WHERE {live}".encode()).fetchall()
                most = max(most, len(rows))
                end = f"UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = now() WHERE {live}"
                ended += watching.execute(end.encode()).rowcount

    watcher = threading.Thread(target=watch_and_end)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(enqueue, apps))
    finally:
        over.set()
        watcher.join()
        for shop in apps:
            shop.database.close()
            shop.close()
    decide()
    assert most == 1
    assert ended > 1
    assert query("SELECT count(*) <= 1 FROM trilho.jobs WHERE finished_at IS NULL") == [(True,)]
