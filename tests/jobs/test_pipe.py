"""The pipe: wake-ups leave in the background, in order, and nobody waits for the broker."""

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from kombu import Connection, Queue

from tests.jobs.rows import new
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.jobs.enqueue import MARK
from trilho.jobs.job import NewJob
from trilho.jobs.pipe import Address, Pipe, by_address


class Broker:
    """Remembers what it was sent; is away, refuses a queue, or hangs, as it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[Address, str]] = []
        self.away = False
        self.refuses = ""
        self.go_on = threading.Event()
        self.go_on.set()

    def post(self, address: Address, jobs: Sequence[Any]) -> bool:
        return False

    def confirm(self) -> None: ...

    def open_line(self) -> None: ...

    def send(self, address: Address, jobs: Sequence[Any]) -> None:
        self.go_on.wait(20)
        if self.away or address.queue == self.refuses:
            raise OSError("away")
        self.sent += [(address, job.id) for job in jobs]

    @property
    def ids(self) -> list[str]:
        return [job_id for _, job_id in self.sent]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def pipe(broker: Broker) -> Pipe:
    return Pipe(lambda: broker, capacity=50)  # type: ignore[arg-type, return-value]


def jobs(*ids: object, **fields: Any) -> list[NewJob]:
    return [new(str(job_id), **fields) for job_id in ids]


def test_wakeups_leave_in_order(pipe: Pipe, broker: Broker) -> None:
    for number in range(20):
        pipe.push(jobs(number))
    assert pipe.flush(10)
    assert broker.ids == [str(number) for number in range(20)]


def test_each_queue_and_priority_keeps_its_order() -> None:
    mixed = [*jobs(1, 2), *jobs(3, queue="low"), *jobs(4, priority=9), *jobs(5), *jobs(6, queue="low")]
    grouped = {address: [job.id for job in those] for address, those in by_address(mixed).items()}
    assert grouped == {
        Address("celery", 0): ["1", "2", "5"],
        Address("low", 0): ["3", "6"],
        Address("celery", 9): ["4"],
    }


def test_push_never_waits_for_a_broker_that_hangs(pipe: Pipe, broker: Broker) -> None:
    broker.go_on.clear()
    began = time.monotonic()
    for number in range(100):
        pipe.push(jobs(number))
    assert time.monotonic() - began < 1
    broker.go_on.set()


def test_what_found_no_broker_leaves_when_it_is_back(pipe: Pipe, broker: Broker) -> None:
    broker.away = True
    pipe.push(jobs("a", "b"))
    eventually(lambda: pipe._waiting, lambda waiting: [job.id for job in waiting] == ["a", "b"])
    broker.away = False
    pipe.push(jobs("c"))
    eventually(lambda: broker.ids, lambda ids: ids == ["a", "b", "c"])


def test_pipe_keeps_no_more_than_it_has_room_for(pipe: Pipe, broker: Broker) -> None:
    broker.go_on.clear()
    pipe.push(jobs("first"))
    eventually(lambda: not pipe._waiting)
    pipe.push(jobs(*range(200)))
    assert len(pipe._waiting) == 50
    broker.go_on.set()
    assert pipe.flush(10)


def test_queue_that_the_broker_refuses_holds_no_other_up(pipe: Pipe, broker: Broker) -> None:
    broker.refuses = "bad"
    pipe.push([*jobs("a"), *jobs("b", queue="bad"), *jobs("c", queue="low")])
    eventually(lambda: sorted(broker.ids), lambda ids: ids == ["a", "c"])
    pipe.push(jobs("d"))
    eventually(lambda: sorted(broker.ids), lambda ids: ids == ["a", "c", "d"])


def test_flush_gives_up_after_its_time(pipe: Pipe, broker: Broker) -> None:
    assert pipe.flush(1)
    broker.go_on.clear()
    pipe.push(jobs("a"))
    assert not pipe.flush(0.1)
    broker.go_on.set()
    assert pipe.flush(10)


def test_child_of_a_fork_has_a_thread_of_its_own(pipe: Pipe, broker: Broker) -> None:
    pipe.push(jobs("a"))
    assert pipe.flush(10)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        pipe.push(jobs("b"))
        done = pipe.flush(10) and broker.ids == ["a", "b"]
        os.write(writer, b"y" if done else b"n")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"y"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("kind", ["valkey", "rabbitmq"])
def test_wakeup_is_a_celery_message_that_names_its_row(app: Trilho, request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue(kind)
    app.settings = app.settings.model_copy(update={"broker_url": url})
    app.conf.broker_url = url
    broker = app.impatient_broker()
    job = new("one", headers='{"argsrepr": "(1,)"}', retries=2, root_id="root")
    broker.send(Address("celery", 0), [job])
    eventually(lambda: broker.depth("celery"), lambda depth: depth == 1)
    assert broker.depth("nobody-declared-this") == 0
    received: list[Any] = []
    with Connection(url) as connection, connection.SimpleQueue(Queue("celery")) as queue:
        message = queue.get(timeout=5)
        message.ack()
        received.append(message)
    broker.close()
    headers = received[0].headers
    assert (headers["id"], headers["task"], headers["root_id"], headers["retries"]) == ("one", "work", "root", 2)
    assert headers[MARK] == 1
    assert headers["argsrepr"] == "(1,)"
    assert received[0].payload == [[], {}, {}]
