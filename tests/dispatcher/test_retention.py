"""Finished jobs go when they are old enough, with all that belongs to them, and nothing else goes."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import uuid_utils
from celery import chord, group
from celery.result import GroupResult
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.rows import claim, enqueue, failure, new, settle
from tests.jobs.shop import Query
from tests.lab.database import Connection
from tests.lab.poll import eventually
from trilho import Trilho, Unique
from trilho.dispatcher import retention
from trilho.dispatcher.loop import Dispatcher
from trilho.dispatcher.retention import LARGEST, PAUSE, SMALLEST, Retain, first_id, keeping, next_limit
from trilho.settings import Settings
from trilho.testing import Harness

DAY = 86400.0
NOW = datetime.now(UTC)

Keep = Callable[..., None]


@pytest.fixture
def keep(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Deletes what is older than so many days, without the rests."""
    monkeypatch.setattr(retention, "REST", 0.0)

    def run(success: float | None = 7, failure: float | None = 30) -> None:
        days = {"retention_success": success, "retention_failure": failure}
        settings = Settings(**{name: value and value * DAY for name, value in days.items()})
        retain = Retain(keeping(settings))
        while retain(connection):
            pass

    return run


def v7(age: float) -> str:
    """The id of a job made so many days ago."""
    return f"{first_id(NOW - timedelta(days=age))}{str(uuid4())[15:]}"


def put(connection: Connection, job_id: str, state: str, age: float, made: float | None = None) -> str:
    """A job made `made` and finished `age` days ago."""
    enqueue(connection, new(job_id))
    finished = NOW - timedelta(days=age) if state in {"SUCCESS", "FAILURE", "REVOKED"} else None
    connection.execute(
        """UPDATE trilho.jobs SET state = %s, finished_at = %s, created_at = %s, claim_token = gen_random_uuid(),
           worker = gen_random_uuid() WHERE id = %s""",
        (state, finished, NOW - timedelta(days=age if made is None else made), job_id),
    )
    return job_id


def left(query: Query, table: str = "jobs", column: str = "id") -> set[str]:
    return {row[0] for row in query(f"SELECT {column} FROM trilho.{table}")}


IDS: dict[str, Callable[[float], str]] = {
    "UUIDv7": v7,
    "UUIDv4": lambda age: str(uuid4()),
    "low": lambda age: f"0 order {age}",
    "high": lambda age: f"order {age}",
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize(
    ("state", "days"), [("SUCCESS", 7), ("FAILURE", 30), ("REVOKED", 30)], ids=["success", "failure", "revoked"]
)
def test_job_is_kept_as_long_as_its_end_says(
    keep: Keep, connection: Connection, query: Query, kind: str, state: str, days: int
) -> None:
    make = IDS[kind]
    old = put(connection, make(days + 0.1), state, days + 0.1)
    young = put(connection, make(days - 0.1), state, days - 0.1)
    keep()
    assert left(query) == {young}
    assert old != young


@pytest.mark.parametrize("state", ["PENDING", "STARTED", "PROCESSING", "RETRY"])
def test_live_job_is_never_deleted(keep: Keep, connection: Connection, query: Query, state: str) -> None:
    ids = {put(connection, make(400.0), state, 400) for make in IDS.values()}
    keep(0, 0)
    assert left(query) == ids


def test_age_counts_from_the_end(keep: Keep, connection: Connection, query: Query) -> None:
    ids = {put(connection, make(90.0), "SUCCESS", age=1, made=90) for make in IDS.values()}
    keep()
    assert left(query) == ids


def test_nothing_is_deleted_where_jobs_are_kept_for_ever(keep: Keep, connection: Connection, query: Query) -> None:
    kept = put(connection, v7(4000), "SUCCESS", 4000)
    put(connection, v7(4001), "FAILURE", 4001)
    keep(None, 30)
    assert left(query) == {kept}
    keep(None, None)
    assert left(query) == {kept}


def test_zero_deletes_at_the_next_look(keep: Keep, connection: Connection, query: Query) -> None:
    put(connection, v7(0.001), "SUCCESS", 0)
    keep(0, None)
    assert left(query) == set()


def test_attempts_and_keys_go_with_their_job(keep: Keep, app: Trilho, connection: Connection, query: Query) -> None:
    @app.task(name="work", unique=True)
    def work() -> None: ...

    for job_id in (v7(31), str(uuid4())):
        work.apply_async(task_id=job_id)
        [job] = claim(connection, job_id)
        settle(connection, failure(job))
        connection.execute("UPDATE trilho.jobs SET finished_at = %s, created_at = %s", (NOW - timedelta(31),) * 2)
        keep()
        assert [left(query, *of) for of in (("jobs",), ("job_attempts", "job_id"), ("job_keys", "job_id"))] == [
            set()
        ] * 3


def test_what_belonged_to_jobs_deleted_by_hand_goes_too(
    keep: Keep, app: Trilho, connection: Connection, query: Query
) -> None:
    @app.task(name="work", unique=True)
    def work(number: int) -> None: ...

    ids = [work.delay(number).id for number in range(3)]
    settle(connection, *(failure(job) for job in claim(connection, *ids)))
    connection.execute("DELETE FROM trilho.jobs WHERE id <> %s", (ids[1],))
    keep(None, None)
    assert left(query, "job_attempts", "job_id") == left(query, "job_keys", "job_id") == {ids[1]}


def test_job_whose_key_is_held_for_a_time_stays_so_long(
    keep: Keep, app: Trilho, connection: Connection, query: Query
) -> None:
    @app.task(name="work", unique=Unique(within=timedelta(days=60)))
    def work() -> None: ...

    job_id = work.apply_async(task_id=v7(40)).id
    connection.execute("UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = %s", (NOW - timedelta(40),))
    keep()
    assert left(query) == {job_id}
    assert work.delay().id == job_id
    connection.execute("UPDATE trilho.job_keys SET expires_at = now()")
    keep()
    assert left(query) == set()


def test_canvas_goes_when_nothing_of_it_is_needed(
    keep: Keep, app: Trilho, trilho: Harness, connection: Connection, query: Query
) -> None:
    @app.task
    def one(number: int = 0) -> int:
        return 1

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    done = chord([one.s(), one.s()], total.s()).apply_async()
    trilho.run_until_idle()
    waiting = chord([one.s(), one.s().set(countdown=3600)], total.s()).apply_async()
    trilho.run_until_idle()
    saved: GroupResult = group(one.s(), one.s()).apply_async()
    saved.save()
    age(connection)
    keep()
    assert not done.exists()
    assert left(query, "chords") == left(query, "chord_parts", "chord_id") == {waiting.parent.id}
    assert left(query, "job_groups") == {saved.id}

    trilho.advance(hours=2)
    trilho.run_until_idle()
    assert waiting.get(timeout=5) == 2
    age(connection)
    keep()
    assert [left(query, table) for table in ("jobs", "chords", "job_groups")] == [set()] * 3


def age(connection: Connection) -> None:
    """What is finished now was finished long ago, and all of it was made long ago."""
    long = NOW - timedelta(days=100)
    connection.execute("UPDATE trilho.jobs SET finished_at = %s WHERE finished_at IS NOT NULL", (long,))
    for table in ("jobs", "chords", "job_groups"):
        connection.execute(f"UPDATE trilho.{table} SET created_at = %s".encode(), (long,))


def test_locked_job_is_left_for_another_time(keep: Keep, connection: Connection, query: Query, database: str) -> None:
    from tests.lab.database import connect

    locked, free = (put(connection, v7(8 + n), "SUCCESS", 8) for n in (1, 2))
    with connect(database) as other, other.transaction():
        other.execute("SELECT 1 FROM trilho.jobs WHERE id = %s FOR UPDATE", (locked,))
        keep()
        assert left(query) == {locked}
    keep()
    assert free not in left(query) == set()


def test_next_look_begins_where_the_last_one_ended(
    connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a walk from the beginning, every few hours, finds what ended behind the place of the walk."""
    monkeypatch.setattr(retention, "REST", 0.0)
    retain = Retain(keeping(Settings()))

    def look() -> set[str]:
        monkeypatch.setattr(retention, "PAUSE", 0.0)
        retain._not_before = 0.0
        while retain(connection):
            pass
        return left(query)

    old = [put(connection, v7(20 - n), "SUCCESS", 8) for n in range(3)]
    late = put(connection, v7(25), "STARTED", 0)
    assert look() == {late}
    put(connection, v7(10), "SUCCESS", 8)
    connection.execute("UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = %s", (NOW - timedelta(8),))
    assert look() == {late}
    assert set(old).isdisjoint(look())
    monkeypatch.setattr(retention, "FROM_THE_BEGINNING", 0.0)
    assert look() == set()


def test_small_batches_with_rests(connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.execute(FILL, {"rows": 500})
    retain = Retain(keeping(Settings()))
    assert retain(connection)
    first = 500 - len(left(query))
    assert 0 < first <= SMALLEST
    retain._not_before = time.monotonic() + 60
    assert retain(connection)
    assert 500 - len(left(query)) == first
    retain._not_before = 0.0
    monkeypatch.setattr(retention, "REST", 0.0)
    while retain(connection):
        pass
    assert left(query) == set()
    assert retain._not_before > time.monotonic() + PAUSE / 2


FILL = """
INSERT INTO trilho.jobs (id, task, queue, state, created_at, finished_at)
SELECT '01900000-' || lpad(to_hex(n), 4, '0') || '-7000-8000-000000000000', 'work', 'celery', 'SUCCESS',
       now() - interval '400 days', now() - interval '400 days'
FROM generate_series(1, %(rows)s) n"""


@given(st.integers(SMALLEST, LARGEST), st.floats(0, 10), st.booleans())
def test_batch_stays_within_bounds_and_shrinks_when_it_is_slow(limit: int, took: float, full: bool) -> None:
    after = next_limit(limit, took, full)
    assert SMALLEST <= after <= LARGEST
    assert after <= limit or (full and took < retention.BRIEF)
    assert took <= retention.BRIEF or after <= max(SMALLEST, limit // 2)


def test_id_of_a_time_is_above_the_ids_made_before_and_below_those_made_later() -> None:
    millisecond = timedelta(milliseconds=1)
    for _ in range(100):
        before, job_id, after = datetime.now(UTC), str(uuid_utils.uuid7()), datetime.now(UTC)
        assert first_id(before - millisecond) <= job_id < first_id(after + 2 * millisecond)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2500, 1, 1)), st.integers(1, 10**12))  # noqa: DTZ001
def test_ids_of_times_are_in_their_order(when: datetime, milliseconds: int) -> None:
    when = when.replace(tzinfo=UTC, microsecond=0)
    assert first_id(when) < first_id(when + timedelta(milliseconds=milliseconds))


def test_dispatcher_deletes_what_is_old(app: Trilho, connection: Connection, query: Query) -> None:
    put(connection, v7(8), "SUCCESS", 8)
    young = put(connection, v7(6), "SUCCESS", 6)

    class Process:
        incarnation = uuid4()

    dispatcher = Dispatcher(app, Process())
    dispatcher.start()
    try:
        eventually(lambda: left(query), lambda ids: ids == {young})
    finally:
        dispatcher.stop()


@pytest.mark.parametrize(("told", "kept"), [("never", None), ("0", 0.0), ("3600", 3600.0)])
def test_environment_says_how_long(monkeypatch: pytest.MonkeyPatch, told: str, kept: Any) -> None:
    monkeypatch.setenv("TRILHO_RETENTION_SUCCESS", told)
    assert Settings().retention_success == kept
