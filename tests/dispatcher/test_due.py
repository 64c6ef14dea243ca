"""Due jobs are taken once, by whoever can run them."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dispatcher.fakes import FakeBroker, FakeHands
from tests.jobs.rows import claimed, column, enqueue, new, retry, settle, view
from tests.lab.database import Connection, connect
from trilho.dispatcher.due import FROM_THE_START, PUBLISH_BATCH, HandOver, MovingFloor, Publish
from trilho.dispatcher.store import BEGINNING, Due, give_back, take_due
from trilho.jobs.job import DueJob
from trilho.jobs.pipe import Address
from trilho.processes import store as processes
from trilho.processes.store import ProcessInfo


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def due(connection: Connection, *ids: str, **fields: Any) -> None:
    """Jobs that nobody was told of."""
    enqueue(connection, *(new(job_id, **{"send": False, **fields}) for job_id in ids))


def take(connection: Connection, limit: int = 10, **fields: Any) -> list[str]:
    wanted = Due(**{"queues": ["celery"], "tasks": ["work"], "limit": limit, **fields})
    return [job.id for job in take_due(connection, wanted)]


def live_worker(
    connection: Connection, queues: tuple[str, ...] = ("celery",), tasks: tuple[str, ...] = ("work",)
) -> None:
    processes.register(connection, uuid4(), ProcessInfo("worker", "w", "h", 1, "1", 60.0, queues=queues, tasks=tasks))


# ---- taking


def test_taken_job_counts_as_sent_and_is_not_taken_again(connection: Connection) -> None:
    due(connection, "one")
    assert take(connection) == ["one"]
    assert take(connection) == []
    assert column(connection, "sends") == 1
    assert column(connection, "sent_at") is not None


@pytest.mark.parametrize(
    "other",
    [
        {"queue": "low"},
        {"task": "unknown"},
        {"held": True},
        {"send": True},
        {"run_at": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_is_not_due_here_is_left_alone(connection: Connection, other: dict[str, Any]) -> None:
    due(connection, "one", **other)
    assert take(connection) == []


@pytest.mark.parametrize("state", ["STARTED", "SUCCESS"])
def test_what_does_not_wait_is_left_alone(connection: Connection, state: str) -> None:
    job = claimed(connection, send=False)
    if state == "SUCCESS":
        connection.execute("UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = now()")
    assert take(connection) == []
    assert job.id == "one"


def test_retry_that_is_due_is_taken(connection: Connection) -> None:
    settle(connection, retry(claimed(connection)))
    assert take(connection) == ["one"]


def test_oldest_are_taken_first_and_urgent_ones_lead_the_batch(connection: Connection) -> None:
    for number in range(6):
        due(connection, f"job-{number}", run_at=ago(minutes=10 - number), priority=number % 2 * 5)
    assert take(connection, limit=4) == ["job-1", "job-3", "job-0", "job-2"]
    assert take(connection, limit=4) == ["job-5", "job-4"]


def test_every_queue_and_task_gets_its_turn(connection: Connection) -> None:
    for queue in ("a", "b"):
        for task in ("x", "y"):
            due(connection, f"{queue}{task}", queue=queue, task=task)
    assert sorted(take(connection, queues=["a", "b"], tasks=["x", "y", "z"])) == ["ax", "ay", "bx", "by"]


def test_two_takers_at_once_never_take_the_same(connection: Connection, database: str) -> None:
    due(connection, *(f"job-{number:03}" for number in range(100)))
    start = threading.Barrier(4)
    taken: list[list[str]] = []

    def run() -> None:
        with connect(database) as mine:
            start.wait()
            rounds = [take(mine, limit=7) for _ in range(20)]
            taken.append([job_id for ids in rounds for job_id in ids])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [job_id for ids in taken for job_id in ids]
    assert len(everything) == len(set(everything)) == 100


def test_what_was_given_back_is_taken_again(connection: Connection) -> None:
    due(connection, "one")
    jobs = take_due(connection, Due(["celery"], ["work"], 10))
    give_back(connection, jobs)
    assert take(connection) == ["one"]
    assert column(connection, "sends") == 2


def test_overdue_and_floor_narrow_the_look(connection: Connection) -> None:
    due(connection, "old", run_at=ago(minutes=10))
    due(connection, "new", run_at=ago(seconds=1))
    assert take(connection, overdue=60.0) == ["old"]
    due(connection, "older", run_at=ago(minutes=20))
    assert take(connection, floor=ago(minutes=5)) == ["new"]
    assert take(connection, floor=BEGINNING) == ["older"]


# ---- handing over


def test_worker_gets_no_more_than_it_has_room_for(connection: Connection) -> None:
    due(connection, *(f"job-{number}" for number in range(5)))
    hands = FakeHands(free=3)
    hand_over = HandOver(hands)
    hand_over(connection)
    assert (len(hands.handed), hand_over.may_have_more) == (3, True)
    hand_over(connection)
    assert len(hands.handed) == 3
    hands.free = 10
    hand_over(connection)
    assert (len(hands.handed), hand_over.may_have_more) == (5, False)


def test_worker_without_room_takes_nothing(connection: Connection) -> None:
    due(connection, "one")
    HandOver(FakeHands(free=0))(connection)
    assert column(connection, "sent_at") is None


def test_job_of_an_unknown_task_waits_with_the_reason_for_one_that_knows_it(connection: Connection) -> None:
    due(connection, "one", task="rare")
    connection.execute("UPDATE trilho.jobs SET error = 'nobody knows it' WHERE id = 'one'")
    ignorant = FakeHands()
    HandOver(ignorant)(connection)
    assert (ignorant.ids, view(connection).state, view(connection).error) == ([], "PENDING", "nobody knows it")
    knowing = FakeHands(knows=("work", "rare"))
    HandOver(knowing)(connection)
    assert knowing.ids == ["one"]


# ---- the moving floor


moments = st.integers(0, 100_000).map(lambda seconds: BEGINNING + timedelta(seconds=seconds))
found = st.lists(moments, max_size=4)


def job_at(when: datetime) -> DueJob:
    return DueJob("one", "work", "celery", 0, "{}", 0, None, None, None, when)


@given(st.lists(st.tuples(st.floats(0, 20), found), max_size=30))
def test_floor_never_falls_and_the_whole_is_read_every_few_seconds(looks: list[tuple[float, list[datetime]]]) -> None:
    floor, now, last_whole = MovingFloor(), 1000.0, 0.0
    highest = BEGINNING
    for pause, moments_found in looks:
        now += pause
        begin = floor.begin(now)
        assert begin in (BEGINNING, floor.floor)
        if begin == BEGINNING:
            last_whole = now
        assert now - last_whole < FROM_THE_START
        floor.found([job_at(when) for when in moments_found])
        assert floor.floor >= highest
        highest = floor.floor
        if moments_found:
            assert floor.floor >= min(moments_found) - timedelta(seconds=FROM_THE_START)


@given(st.lists(found.filter(bool), min_size=1, max_size=20))
def test_nothing_found_lies_far_below_the_floor_of_its_own_look(looks: list[list[datetime]]) -> None:
    floor = MovingFloor()
    for moments_found in looks:
        before = floor.floor
        floor.found([job_at(when) for when in moments_found])
        assert floor.floor <= max(before, min(moments_found) - timedelta(seconds=FROM_THE_START))


# ---- publishing


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def publish(broker: FakeBroker) -> Publish:
    return Publish(lambda: broker, after=0.0)  # type: ignore[arg-type, return-value]


def test_due_jobs_are_published_by_queue_and_priority(
    connection: Connection, broker: FakeBroker, publish: Publish
) -> None:
    live_worker(connection, queues=("celery", "low"))
    due(connection, "a", run_at=ago(minutes=2))
    due(connection, "b", run_at=ago(minutes=1))
    due(connection, "urgent", priority=9)
    due(connection, "low", queue="low")
    assert publish(connection) is False
    assert sorted(broker.sent, key=str) == sorted(
        [(Address("celery", 9), ["urgent"]), (Address("celery", 0), ["a", "b"]), (Address("low", 0), ["low"])], key=str
    )


@pytest.mark.parametrize("nobody", [{"queues": ("other",)}, {"tasks": ("other",)}])
def test_nothing_is_published_that_no_live_worker_takes(
    connection: Connection, broker: FakeBroker, publish: Publish, nobody: dict[str, tuple[str, ...]]
) -> None:
    due(connection, "one")
    publish(connection)
    live_worker(connection, **nobody)
    publish(connection)
    assert broker.sent == []
    assert column(connection, "sent_at") is None


def test_jobs_go_back_while_the_broker_is_away(connection: Connection, broker: FakeBroker, publish: Publish) -> None:
    live_worker(connection)
    due(connection, "one")
    broker.away = True
    assert publish(connection) is False
    assert column(connection, "sent_at") is None
    broker.away = False
    publish(connection)
    assert broker.sent == []  # not at once: it was away a moment ago
    publish._not_before = 0.0
    publish(connection)
    assert [ids for _, ids in broker.sent] == [["one"]]


def test_full_batch_asks_for_another_look(connection: Connection, publish: Publish, broker: FakeBroker) -> None:
    live_worker(connection)
    due(connection, *(f"job-{number:04}" for number in range(PUBLISH_BATCH + 1)))
    assert publish(connection) is True
    assert publish(connection) is False
    assert sum(len(ids) for _, ids in broker.sent) == PUBLISH_BATCH + 1


def test_worker_gets_the_first_chance_before_the_broker(connection: Connection, broker: FakeBroker) -> None:
    live_worker(connection)
    due(connection, "fresh")
    due(connection, "overdue", run_at=ago(minutes=1))
    Publish(lambda: broker)(connection)  # type: ignore[arg-type, return-value]
    assert [ids for _, ids in broker.sent] == [["overdue"]]


Takes = Callable[[Connection], object]
