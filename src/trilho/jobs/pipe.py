"""The pipe: a background thread that hands wake-ups to the broker, so that no caller ever waits for it."""

import atexit
import base64
import concurrent.futures.thread  # noqa: F401 - redis-py imports it at its first connection; in a program that ends, too late
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import uuid_utils.compat as uuid_utils
from kombu import Connection as BrokerConnection
from kombu import Producer, Queue

from trilho.jobs.enqueue import EMPTY_BODY, MARK, wakeup_headers
from trilho.jobs.job import DueJob, NewJob
from trilho.log import get_logger

log = get_logger("trilho.pipe")

BATCH = 500
FLUSH_AT_EXIT = 0.5
GATHER = 0.001
"""Pause after a send: a lone wake-up never waits, a stream of them shares round trips."""


def patient_options(url: str) -> dict[str, float]:
    """Transport options of a worker's connection: a frozen broker must not hold its event loop for ever."""
    return {} if url.startswith(("amqp", "sqs")) else {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}


def impatient_options(url: str) -> dict[str, float]:
    """Transport options of a connection that would rather fail than wait."""
    if url.startswith("amqp"):
        return {"read_timeout": 1.0, "write_timeout": 1.0}
    return {} if url.startswith("sqs") else {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "max_retries": 0}


@dataclass(frozen=True)
class Address:
    """A queue of the broker and a priority in it."""

    queue: str
    priority: int


class Broker:
    """One impatient connection to the broker; raises what kombu raises, and reconnects at the next call."""

    def __init__(self, connect: Callable[[], BrokerConnection], queue: Callable[[str], Queue]) -> None:
        self._connect = connect
        self._queue = queue
        self._connection: BrokerConnection | None = None

    def send(self, address: Address, jobs: Sequence[NewJob | DueJob]) -> None:
        """Hand over the wake-ups of one queue, in order."""
        try:
            channel = self._channel()
            if hasattr(channel, "_q_for_pri"):
                _push_to_redis(channel, address, jobs)
            else:
                self._publish(channel, address, jobs)
        except BaseException:
            self.close()
            raise

    def depth(self, queue: str) -> int:
        """How many messages the broker holds for this queue; 0 for a queue that it does not know."""
        connection = self._open()
        try:
            return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            self.close()
            return 0
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.2)
            except Exception as error:  # the connection is broken already: there is nothing left to lose
                log.debug("broker.close_failed", error=repr(error))

    def _open(self) -> BrokerConnection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _channel(self) -> Any:
        return self._open().default_channel

    def _publish(self, channel: Any, address: Address, jobs: Sequence[NewJob | DueJob]) -> None:
        queue = self._queue(address.queue)
        queue(channel).declare()
        producer = Producer(channel, serializer="json")
        for job in jobs:
            producer.publish(
                [[], {}, {}],
                exchange="",
                routing_key=queue.name,
                headers=wakeup_headers(job),
                correlation_id=job.id,
                priority=address.priority,
                delivery_mode=2,
            )


def _push_to_redis(channel: Any, address: Address, jobs: Sequence[NewJob | DueJob]) -> None:
    """One LPUSH for many messages, in kombu's format."""
    key = channel._q_for_pri(address.queue, address.priority)
    payloads = [json.dumps(_redis_message(address, job), separators=(",", ":")) for job in jobs]
    channel.client.lpush(key, *payloads)


MARKED = f'"headers":{{"{MARK}":1,'
"""What every wake-up in Redis contains, and no other message: elsewhere its quotes would be escaped."""

_EMPTY_BODY_BASE64 = base64.b64encode(EMPTY_BODY.encode()).decode()


def _redis_message(address: Address, job: NewJob | DueJob) -> dict[str, Any]:
    return {
        "body": _EMPTY_BODY_BASE64,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": wakeup_headers(job),
        "properties": {
            "correlation_id": job.id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": address.queue},
            "priority": address.priority,
            "body_encoding": "base64",
            "delivery_tag": str(uuid_utils.uuid4()),
        },
    }


Woken = TypeVar("Woken", NewJob, DueJob)


def by_address(jobs: Iterable[Woken]) -> dict[Address, list[Woken]]:
    """The jobs of each queue and priority, in order."""
    grouped: dict[Address, list[Woken]] = {}
    for job in jobs:
        grouped.setdefault(Address(job.queue, job.priority), []).append(job)
    return grouped


class Pipe:
    """Bounded and lossy on purpose: a wake-up that finds no room or no broker is sent by the dispatcher later."""

    def __init__(self, broker: Callable[[], Broker], capacity: int = 20_000) -> None:
        self._make_broker = broker
        self._capacity = capacity
        self._pid = 0
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._waiting: deque[NewJob] = deque(maxlen=self._capacity)
        self._ring = threading.Condition()
        self._thread: threading.Thread | None = None
        self._idle = True

    def push(self, jobs: Sequence[NewJob]) -> None:
        """Send wake-ups soon; never blocks, never raises."""
        if not jobs:
            return
        if self._pid != os.getpid():  # a thread and its lock do not cross a fork
            self._begin_process()
        with self._ring:
            self._waiting.extend(jobs)
            if self._thread is None:
                self._start()
            self._ring.notify()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="trilho-pipe", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def flush(self, timeout: float = FLUSH_AT_EXIT) -> bool:
        """Wait until everything is handed over, at most `timeout` seconds; whether it is."""
        deadline = time.monotonic() + timeout
        while self._pid == os.getpid() and (self._waiting or not self._idle):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def _run(self) -> None:
        broker = self._make_broker()
        pause = 0.0
        while True:
            batch = self._take()
            failed, error = self._send(broker, batch)
            if error is None:
                pause = 0.0
                time.sleep(GATHER)
            else:
                pause = min(5.0, pause * 2 or 0.2)
                log.warning("broker.away", error=repr(error), waiting=len(self._waiting), retry_in=pause)
                if len(failed) == len(batch):  # otherwise the fault lies in them: the dispatcher finds their rows
                    self._waiting.extendleft(reversed(batch[: self._capacity - len(self._waiting)]))
                time.sleep(pause)

    def _send(self, broker: Broker, batch: Sequence[NewJob]) -> tuple[list[NewJob], Exception | None]:
        failed: list[NewJob] = []
        last: Exception | None = None
        for address, jobs in by_address(batch).items():
            try:
                broker.send(address, jobs)
            except Exception as error:  # whatever the broker's client raises: the rows are safe
                failed += jobs
                last = error
        return failed, last

    def _take(self) -> list[NewJob]:
        with self._ring:
            while not self._waiting:
                self._idle = True
                self._ring.wait()
            self._idle = False
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
