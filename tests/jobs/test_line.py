"""Wake-ups that the caller puts on the line himself: at once, never waiting, and sent again if they may be lost."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from tests.jobs.rows import new
from tests.lab.database import port_of, with_port
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from trilho import Trilho
from trilho.jobs.job import NewJob
from trilho.jobs.line import MOST_UNANSWERED, Line
from trilho.jobs.pipe import Address, Broker, Pipe

CELERY = Address("celery", 0)


@pytest.fixture
def proxy(valkey: str) -> Iterator[FaultProxy]:
    with FaultProxy(port_of(valkey)) as proxy:
        yield proxy


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey) as client:
        yield client


@pytest.fixture
def broker(app: Trilho, valkey: str, proxy: FaultProxy) -> Iterator[Broker]:
    """A broker on the far side of the proxy."""
    url = with_port(valkey, proxy.port)
    app.settings = app.settings.model_copy(update={"broker_url": url})
    app.conf.broker_url = url
    broker = app.impatient_broker()
    yield broker
    broker.close()


@pytest.fixture
def line(broker: Broker) -> Line:
    broker.open_line()
    assert broker._line is not None
    return broker._line


@pytest.fixture
def pipe(broker: Broker) -> Pipe:
    """A pipe with an open line."""
    pipe = Pipe(lambda: broker)
    pipe.push([new("first")])
    assert pipe.flush(10)
    return pipe


def jobs(*ids: object) -> list[NewJob]:
    return [new(str(job_id)) for job_id in ids]


def sent(client: redis.Redis) -> set[str]:
    """The ids of the jobs that the broker holds wake-ups of."""
    messages = [message.decode() for message in client.lrange("celery", 0, -1)]
    return {message.split('"correlation_id":"')[1].split('"')[0] for message in messages}


def test_caller_sends_it_himself(pipe: Pipe, client: redis.Redis) -> None:
    with pipe._ring:  # the thread can do nothing
        assert pipe._post(jobs("a", "b"))
        eventually(lambda: sent(client), lambda ids: ids == {"first", "a", "b"})
    assert pipe.flush(10)


def test_wakeups_that_nobody_answered_for_are_sent_again(pipe: Pipe, client: redis.Redis, proxy: FaultProxy) -> None:
    proxy.set("black-hole")
    pipe.push(jobs("a"))
    proxy.cut()
    proxy.set()
    eventually(lambda: sent(client), lambda ids: "a" in ids)
    assert pipe.flush(10)


def test_wakeups_that_the_broker_refused_are_sent_again(pipe: Pipe, client: redis.Redis) -> None:
    client.set("celery-0", "")
    pipe._broker._line._key_of = lambda queue, priority: "celery-0"  # type: ignore[union-attr]
    pipe.push(jobs("a"))
    eventually(lambda: sent(client), lambda ids: "a" in ids)


def test_broker_that_has_hung_up_is_called_again(pipe: Pipe, client: redis.Redis, proxy: FaultProxy) -> None:
    proxy.cut()
    pipe.push(jobs("a"))
    eventually(lambda: sent(client), lambda ids: "a" in ids)
    assert pipe.flush(10)
    assert pipe._post(jobs("b"))


def test_nobody_waits_for_a_broker_that_stands_still(pipe: Pipe, client: redis.Redis, proxy: FaultProxy) -> None:
    proxy.set("black-hole")
    begun = time.monotonic()
    for number in range(300):
        pipe.push(jobs(number))
    assert time.monotonic() - begun < 0.9  # the socket's own patience is a second
    proxy.set()
    eventually(lambda: sent(client), lambda ids: len(ids) == 301)


def test_no_more_goes_out_than_a_socket_takes(line: Line, proxy: FaultProxy) -> None:
    proxy.set("black-hole")
    size = MOST_UNANSWERED // 10
    pushed = [line.push("celery", 0, ["x" * size]) for _ in range(12)]
    assert pushed == [True] * 9 + [False] * 3


def test_line_that_was_cut_takes_nothing(line: Line, proxy: FaultProxy) -> None:
    assert line.push("celery", 0, ["a"])
    line.read()
    proxy.cut()
    eventually(line._says_something)
    assert not line.push("celery", 0, ["b"])
    assert not line.is_open


def test_client_that_does_more_with_a_command_has_no_line(app: Trilho, broker: Broker) -> None:
    app.conf.broker_transport_options = {"global_keyprefix": "mine"}
    broker.open_line()
    assert broker._line is None
    assert not broker.post(CELERY, jobs("a"))


def test_many_threads_lose_nothing(pipe: Pipe, client: redis.Redis) -> None:
    def push(first: int) -> None:
        for number in range(first, first + 50):
            pipe.push(jobs(number))

    threads = [threading.Thread(target=push, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipe.flush(10)
    assert len(sent(client)) == 201
    assert client.llen("celery") == 201
