"""The dispatcher as a whole: one failing loop stops no other, and one owner has each duty."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from tests.dispatcher.fakes import FakeHands
from tests.jobs.rows import claimant, claimed, enqueue, new
from tests.jobs.shop import Query
from tests.lab.database import Connection
from tests.lab.poll import always, eventually
from trilho import Trilho
from trilho.dispatcher.loop import Dispatcher, Loop, Sampler
from trilho.jobs import stats


@dataclass
class Process:
    incarnation: UUID = field(default_factory=uuid4)


Start = Callable[..., Dispatcher]


@pytest.fixture
def start(app: Trilho) -> Iterator[Start]:
    """Starts dispatchers; their loops may be given."""
    started: list[Dispatcher] = []
    app.settings = app.settings.model_copy(update={"tick": 0.05, "resend_grace": 0.2})

    def make(hands: FakeHands | None = None, loops: list[Loop] | None = None) -> Dispatcher:
        dispatcher = Dispatcher(app, Process(), hands)
        if loops is not None:
            dispatcher.loops = loops
        dispatcher.start()
        started.append(dispatcher)
        return dispatcher

    yield make
    for dispatcher in started:
        dispatcher.stop()
        assert dispatcher._thread is not None
        dispatcher._thread.join(5)


class Counting:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self, connection: Connection) -> None:
        self.calls += 1
        connection.execute("SELECT 1")
        if self.error is not None:
            raise self.error


def test_failing_loop_stops_no_other(start: Start) -> None:
    broken, well = Counting(ValueError("x")), Counting()
    start(loops=[Loop("broken", broken, 0.05), Loop("well", well, 0.05)])
    eventually(lambda: well.calls > 3 and broken.calls > 3)


def test_failed_statement_inside_a_transaction_does_not_poison_the_next_loop(start: Start) -> None:
    well = Counting()

    def broken(connection: Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 / 0")

    start(loops=[Loop("broken", broken, 0.05), Loop("well", well, 0.05)])
    eventually(lambda: well.calls > 3)


def test_dispatcher_survives_the_end_of_its_connection(start: Start, query: Query) -> None:
    well = Counting()
    start(loops=[Loop("well", well, 0.05)])
    eventually(lambda: well.calls > 1)
    query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    before = well.calls
    eventually(lambda: well.calls > before + 1)


def test_duty_is_done_by_one_dispatcher_and_taken_over_when_that_one_is_gone(
    start: Start, connection: Connection
) -> None:
    first, second = Counting(), Counting()
    one = start(loops=[Loop("single", first, 0.05, duty=True)])
    eventually(lambda: first.calls > 1)
    start(loops=[Loop("single", second, 0.05, duty=True)])
    always(lambda: second.calls, lambda calls: calls == 0, seconds=0.5)
    one.stop()
    connection.execute("DELETE FROM trilho.duties")
    eventually(lambda: second.calls > 1)


def test_due_job_reaches_the_worker_at_once_when_poked(app: Trilho, start: Start, connection: Connection) -> None:
    app.settings = app.settings.model_copy(update={"tick": 30.0})
    hands = FakeHands()
    dispatcher = start(hands)
    time.sleep(0.2)
    enqueue(connection, new("one", send=False))
    dispatcher.poke()
    eventually(lambda: hands.ids, lambda ids: ids == ["one"], timeout=5)


def test_worker_that_has_room_again_is_looked_after_only_if_something_was_left(
    app: Trilho, start: Start, connection: Connection
) -> None:
    enqueue(connection, *(new(job_id, send=False) for job_id in "abc"))
    app.settings = app.settings.model_copy(update={"tick": 30.0})
    hands = FakeHands(free=2)
    dispatcher = start(hands)
    eventually(lambda: len(hands.ids) == 2)
    hands.free = 2
    dispatcher.on_room()
    eventually(lambda: len(hands.ids) == 3)


def test_cancel_requests_reach_the_worker_that_runs_the_job(start: Start, connection: Connection, app: Trilho) -> None:
    hands = FakeHands()
    dispatcher = start(hands)
    claimed(connection, "mine", by=claimant(dispatcher.identity.incarnation))
    claimed(connection, "of another")
    for job_id in ("mine", "of another"):
        app.jobs.cancel(job_id)
    eventually(lambda: set(hands.cancelled), lambda ids: ids == {"mine"})


def test_claims_that_the_worker_lost_sight_of_are_given_back(start: Start, connection: Connection) -> None:
    hands = FakeHands()
    dispatcher = start(hands)
    claimed(connection, "stray", by=claimant(dispatcher.identity.incarnation))
    claimed(connection, "of another")
    connection.execute("UPDATE trilho.jobs SET started_at = now() - interval '1 minute'")
    eventually(lambda: {job_id for job_id, _ in hands.strays}, lambda ids: ids == {"stray"}, timeout=20)


def test_dispatcher_alone_registers_samples_and_leaves(app: Trilho, connection: Connection) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=app.run_dispatcher, args=(stop,))
    thread.start()
    enqueue(connection)
    try:
        eventually(
            lambda: connection.execute("SELECT kind, state FROM trilho.processes").fetchall(),
            lambda rows: rows == [("dispatcher", "running")],
        )
        eventually(lambda: [queue.waiting for queue in app.jobs.stats().queues], lambda waiting: waiting == [1])
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert connection.execute("SELECT state FROM trilho.processes").fetchall() == [("stopped",)]
    assert connection.execute("SELECT count(*) FROM trilho.duties").fetchone() == (0,)


def test_sampler_rests_twenty_times_as_long_as_it_works(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []

    def slow(_: Connection) -> None:
        calls.append(time.monotonic())
        time.sleep(0.05)

    monkeypatch.setattr(stats, "sample", slow)
    sampler = Sampler()
    until = time.monotonic() + 2.2
    while time.monotonic() < until:
        sampler(connection)
        time.sleep(0.01)
    assert 2 <= len(calls) <= 3
