"""Jobs that end without a worker: past their time to live, or duplicates of a unique job."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError

from tests.dispatcher.fakes import FakeHands
from tests.jobs.rows import claimed, column, enqueue, new, retry, settle, view
from tests.jobs.shop import Query
from tests.lab import database as databases
from tests.lab.database import Connection
from tests.lab.poll import eventually
from trilho import Task, Trilho
from trilho.dispatcher import endings
from trilho.dispatcher.endings import BATCH, FEW_LOCKS, Decide, Expire
from trilho.dispatcher.loop import Dispatcher
from trilho.testing import Harness

Add = Task[..., int]
EXPIRED = "expired before it was started"
PAST = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def expire(app: Trilho, connection: Connection) -> Callable[[], bool]:
    """One look for what has expired."""
    look = Expire(app)

    def at_once() -> bool:
        look._not_before = 0.0
        return look(connection)

    return at_once


@pytest.fixture
def add(app: Trilho) -> Add:
    @app.task
    def add(x: int = 0, y: int = 0) -> int:
        return x + y

    return add


@contextmanager
def dispatching(app: Trilho, hands: FakeHands | None = None) -> Iterator[None]:
    """A dispatcher runs in this block."""

    class Process:
        incarnation = uuid4()

    dispatcher = Dispatcher(app, Process(), hands)
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()
        assert dispatcher._thread is not None
        dispatcher._thread.join(5)


# ---- expired


@pytest.mark.parametrize(
    "expires",
    [-1, 0.01, PAST, PAST.replace(tzinfo=None), PAST.isoformat(), PAST.astimezone().isoformat()],
    ids=["seconds ago", "soon", "aware", "naive", "text", "text with an offset"],
)
def test_expired_job_that_no_worker_takes_is_revoked(app: Trilho, add: Add, expires: Any) -> None:
    job = add.apply_async(expires=expires, queue="nobody's")
    with dispatching(app):
        began = time.monotonic()
        with pytest.raises(TaskRevokedError, match=EXPIRED):
            job.get(timeout=30)
        assert time.monotonic() - began < 20
    found = app.jobs.get(job.id)
    assert (found.state, found.error, found.attempt) == ("REVOKED", EXPIRED, 0)


@pytest.mark.parametrize("expires", [60, datetime.now(UTC) + timedelta(days=1)], ids=["seconds", "time"])
def test_job_that_has_time_is_left_alone(add: Add, expire: Callable[[], bool], expires: Any) -> None:
    job = add.apply_async(expires=expires)
    assert not expire()
    assert job.state == "PENDING"


def test_job_that_runs_does_not_expire(connection: Connection, expire: Callable[[], bool]) -> None:
    claimed(connection, expires_at=datetime.now(UTC) + timedelta(hours=1))
    connection.execute("UPDATE trilho.jobs SET expires_at = %s", (PAST,))
    expire()
    assert view(connection).state == "STARTED"


def test_job_that_waits_for_its_next_attempt_expires(connection: Connection, expire: Callable[[], bool]) -> None:
    settle(connection, retry(claimed(connection), run_at=datetime.now(UTC) + timedelta(hours=1)))
    connection.execute("UPDATE trilho.jobs SET expires_at = %s", (PAST,))
    expire()
    assert (view(connection).state, view(connection).error) == ("REVOKED", EXPIRED)


def test_scheduled_job_expires_before_its_time(add: Add, expire: Callable[[], bool]) -> None:
    job = add.apply_async(countdown=3600, expires=-1)
    expire()
    assert job.state == "REVOKED"


def test_what_hangs_on_an_expired_job_ends_with_it(app: Trilho, add: Add, expire: Callable[[], bool]) -> None:
    link = chain(add.s(1, 1).set(expires=-1), add.s(1)).apply_async()
    fan_in = chord([add.s(1, 1).set(expires=-1)], add.s())()
    expire()
    assert link.state == "REVOKED"
    assert fan_in.state == "FAILURE"


def test_many_expired_jobs_end_in_batches(connection: Connection, expire: Callable[[], bool], query: Query) -> None:
    enqueue(connection, *(new(f"job-{number:03}", expires_at=PAST) for number in range(BATCH + 10)))
    assert expire()
    assert not expire()
    assert query("SELECT DISTINCT state FROM trilho.jobs") == [("REVOKED",)]


def test_job_that_is_being_claimed_is_left_to_its_worker(
    connection: Connection, database: str, expire: Callable[[], bool]
) -> None:
    enqueue(connection, new(expires_at=PAST))
    with databases.connect(database) as other, other.transaction():
        other.execute("SELECT 1 FROM trilho.jobs FOR UPDATE")
        assert not expire()
    expire()
    assert view(connection).state == "REVOKED"


def test_looks_rest_when_there_is_nothing(app: Trilho, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def slow(*_: Any) -> int:
        calls.append(time.monotonic())
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(endings, "end_expired", slow)
    look = Expire(app)
    until = time.monotonic() + 2.2
    while time.monotonic() < until:
        look(connection)
        time.sleep(0.01)
    assert 2 <= len(calls) <= 3


# ---- contenders


def test_dispatcher_gives_the_key_to_a_contender_within_a_tick_or_two(app: Trilho, database: str) -> None:
    app.settings = app.settings.model_copy(update={"tick": 0.05})

    @app.task(name="work", unique=True)
    def work() -> None: ...

    hands = FakeHands()
    with dispatching(app, hands):
        with databases.connect(database) as raw, raw.transaction(force_rollback=True):
            app.join(raw).delay(work)
            job = work.delay()
            time.sleep(0.3)
            assert hands.ids == []
        eventually(lambda: hands.ids, lambda ids: ids == [job.id])


def test_contenders_are_decided_about_in_small_transactions_and_each_has_its_turn(
    app: Trilho, trilho: Harness, database: str, connection: Connection
) -> None:

    @app.task(unique=True)
    def work(number: int) -> None: ...

    look, waiting = Decide(app), "SELECT count(*) FROM trilho.job_keys WHERE contends"
    with databases.connect(database) as raw, raw.transaction():
        raw.execute("SELECT pg_advisory_xact_lock(1953655144, part) FROM generate_series(0, 63) part")
        jobs = app.enqueue_many(work, [(number,) for number in range(3 * FEW_LOCKS)])
        assert connection.execute(waiting).fetchone() == (len(jobs),)
        assert not look(connection)
    rounds = 1
    while connection.execute(waiting).fetchone() != (0,):
        look(connection)
        rounds += 1
    assert 4 <= rounds <= 5
    assert {job.id for job in trilho.run_until_idle()} == {job.id for job in jobs}
    assert column(connection, "sends", jobs[0].id) == 0
