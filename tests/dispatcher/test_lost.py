"""Wake-ups that got lost are found; a backlog is never multiplied."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dispatcher.fakes import FakeBroker, FakeHands
from tests.jobs.rows import claimed, column, enqueue, new, retry, settle
from tests.lab.database import Connection
from trilho.dispatcher.lost import ALMOST_NONE, FindLost, Marks
from trilho.dispatcher.store import settle_marks
from trilho.processes import store as processes
from trilho.processes.store import ProcessInfo

GRACE = 5.0
Key = tuple[str, int]


@pytest.fixture(autouse=True)
def live_worker(connection: Connection) -> None:
    info = ProcessInfo("worker", "w", "h", 1, "1", 60.0, queues=("celery", "low"), tasks=("work",))
    processes.register(connection, uuid4(), info)


def sent(connection: Connection, *ids: str, ago: float = 60.0, sends: int = 1, **fields: Any) -> None:
    enqueue(connection, *(new(job_id, **fields) for job_id in ids))
    connection.execute(
        "UPDATE trilho.jobs SET sent_at = clock_timestamp() - %s * interval '1 second', sends = %s WHERE id = ANY(%s)",
        (ago, sends, list(ids)),
    )


def look(connection: Connection, broker: FakeBroker | None = None) -> None:
    FindLost(lambda: broker or FakeBroker(), GRACE)(connection)  # type: ignore[arg-type, return-value]


def lost(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT id FROM trilho.jobs WHERE sent_at IS NULL AND state IN ('PENDING', 'RETRY')")
    return {job_id for (job_id,) in rows}


# ---- the broker is (almost) empty


def test_wakeups_are_lost_when_the_broker_is_empty_and_rows_wait(connection: Connection) -> None:
    sent(connection, "a", "b")
    look(connection)
    assert lost(connection) == {"a", "b"}


def test_young_wakeups_are_given_time(connection: Connection) -> None:
    sent(connection, "young", ago=GRACE - 1)
    sent(connection, "old", ago=GRACE + 1)
    look(connection)
    assert lost(connection) == {"old"}


@pytest.mark.parametrize("holds", [1, 2, ALMOST_NONE])
def test_few_messages_for_more_rows_are_too_few(connection: Connection, holds: int) -> None:
    ids = [f"job-{number}" for number in range(holds + 1)]
    sent(connection, *ids)
    look(connection, FakeBroker({"celery": holds}))
    assert lost(connection) == set(ids)


@pytest.mark.parametrize("holds", [1, 5, ALMOST_NONE + 1, 1000])
def test_broker_that_holds_a_message_for_every_row_lost_none(connection: Connection, holds: int) -> None:
    sent(connection, *(f"job-{number}" for number in range(min(holds, 40))))
    look(connection, FakeBroker({"celery": holds}))
    assert lost(connection) == set()


def test_deep_backlog_is_never_multiplied(connection: Connection) -> None:
    """Half of the messages of a deep queue are gone, but nobody can tell which: overtaking will."""
    sent(connection, *(f"job-{number:04}" for number in range(1000)), ago=3600)
    for _ in range(5):
        look(connection, FakeBroker({"celery": 500}))
    assert lost(connection) == set()


def test_queues_are_told_apart(connection: Connection) -> None:
    sent(connection, "a")
    sent(connection, "b", queue="low")
    look(connection, FakeBroker({"celery": 100}))
    assert lost(connection) == {"b"}


def test_broker_that_is_away_delivers_nothing(connection: Connection) -> None:
    sent(connection, "a")
    look(connection, FakeBroker(away=True))
    assert lost(connection) == {"a"}


@pytest.mark.parametrize(
    ("sends", "age", "expected"),
    [(1, 6, True), (2, 6, False), (2, 11, True), (4, 39, False), (4, 41, True), (99, 319, False), (99, 321, True)],
)
def test_pause_doubles_with_each_send(connection: Connection, sends: int, age: float, expected: bool) -> None:
    sent(connection, "a", ago=age, sends=sends)
    look(connection)
    assert (lost(connection) == {"a"}) is expected


@pytest.mark.parametrize("kind", ["held", "running", "finished", "unsent"])
def test_rows_that_wait_for_no_message_lose_none(connection: Connection, kind: str) -> None:
    if kind == "held":
        sent(connection, "a", held=True)
    elif kind == "unsent":
        enqueue(connection, new("a", send=False))
    else:
        claimed(connection, "a")
        connection.execute("UPDATE trilho.jobs SET sent_at = clock_timestamp() - interval '1 hour'")
        if kind == "finished":
            connection.execute("UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = now()")
    before = column(connection, "sent_at", "a")
    look(connection)
    assert column(connection, "sent_at", "a") == before


def test_retry_that_was_woken_is_found_too(connection: Connection) -> None:
    settle(connection, retry(claimed(connection, "a")))
    connection.execute("UPDATE trilho.jobs SET sent_at = clock_timestamp() - interval '1 minute'")
    look(connection)
    assert lost(connection) == {"a"}


# ---- overtaken


def mark(connection: Connection, ago: float, key: Key = ("celery", 0)) -> None:
    settle_marks(connection, {key: datetime.now(UTC).timestamp() - ago})


def test_wakeup_is_lost_when_a_later_one_was_received_long_ago(connection: Connection) -> None:
    sent(connection, "overtaken", ago=60)
    sent(connection, "behind", ago=20)
    mark(connection, ago=30)
    look(connection, FakeBroker({"celery": 1000}))
    assert lost(connection) == {"overtaken"}


@pytest.mark.parametrize("key", [("celery", 5), ("low", 0)])
def test_other_queues_and_priorities_overtake_nobody(connection: Connection, key: Key) -> None:
    sent(connection, "a", ago=60)
    mark(connection, ago=30, key=key)
    look(connection, FakeBroker({"celery": 1000}))
    assert lost(connection) == set()


def test_marks_never_go_back(connection: Connection) -> None:
    mark(connection, ago=30)
    mark(connection, ago=90)
    sent(connection, "a", ago=60)
    look(connection, FakeBroker({"celery": 1000}))
    assert lost(connection) == {"a"}


def test_overtaken_again_and_again_waits_longer_each_time(connection: Connection) -> None:
    sent(connection, "a", ago=30, sends=4)
    mark(connection, ago=10)
    look(connection, FakeBroker({"celery": 1000}))
    assert lost(connection) == set()


# ---- marks


keys = st.sampled_from([("celery", 0), ("celery", 5), ("low", 0)])
receipts = st.lists(st.tuples(st.floats(0.1, 4), st.dictionaries(keys, st.floats(0, 50))), max_size=30)


@given(receipts)
def test_mark_tells_only_what_was_received_more_than_a_grace_ago(looks: list[tuple[float, dict[Key, float]]]) -> None:
    marks = Marks(FakeHands(), GRACE)
    now, received = 1000.0, dict[Key, float]()
    history: list[tuple[float, dict[Key, float]]] = []
    told: dict[Key, float] = {}
    for pause, more in looks:
        now += pause
        received = {key: max(received.get(key, 0.0), more.get(key, 0.0)) for key in {*received, *more}}
        history.append((now, dict(received)))
        for key, at in marks.settled(now, dict(received)).items():
            assert at > told.get(key, 0.0)
            assert any(at <= seen.get(key, 0.0) for when, seen in history if when <= now - GRACE)
            told[key] = at


@given(receipts)
def test_everything_received_is_told_in_the_end(looks: list[tuple[float, dict[Key, float]]]) -> None:
    marks = Marks(FakeHands(), GRACE)
    now, received, told = 1000.0, dict[Key, float](), dict[Key, float]()
    for pause, more in looks:
        now += pause
        received = {key: max(received.get(key, 0.0), more.get(key, 0.0)) for key in {*received, *more}}
        told |= marks.settled(now, dict(received))
    for _ in range(3):
        now += GRACE + 1
        told |= marks.settled(now, dict(received))
    assert {key: at for key, at in received.items() if at > 0} == told


def test_marks_are_written_by_the_loop(connection: Connection) -> None:
    hands = FakeHands(seen={("celery", 0): 1_000_000.0})
    marks = Marks(hands, grace=0.0)
    marks(connection)
    row = connection.execute("SELECT extract(epoch FROM settled)::float FROM trilho.queue_marks").fetchone()
    assert row == (1_000_000.0,)
