"""The pipe: hands wake-ups to the broker, so that no caller ever waits for it.

Where the broker is Redis, a caller puts a few wake-ups on the line himself and a background thread reads the answers;
everything else that thread sends, too.
"""

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

import uuid_utils
from kombu import Connection as BrokerConnection
from kombu import Producer, Queue

from trilho.jobs.enqueue import EMPTY_BODY, MARK, wakeup_headers
from trilho.jobs.job import DueJob, NewJob
from trilho.jobs.line import Line
from trilho.log import get_logger

log = get_logger("trilho.pipe")

BATCH = 500
FLUSH_AT_EXIT = 0.5
GATHER = 0.001
"""Pause after a send: a lone wake-up never waits, a stream of them shares round trips."""
ANSWERS = 0.005
"""Seconds after which answers are read: those of a stream together."""
LINGER = 200
"""Looks for answers before the thread sleeps: so long, whoever posts need not wake it."""
FEW = 25
"""Wake-ups that a caller sends himself."""


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
        self._line: Line | None = None

    def post(self, address: Address, jobs: Sequence[NewJob]) -> bool:
        """Hand over wake-ups without waiting for the answer; False where that cannot be done now."""
        return self._line is not None and self._line.push(address.queue, address.priority, _payloads(address, jobs))

    def confirm(self) -> None:
        """Wait for the answers to what was posted; raises if any of it may be lost."""
        try:
            if self._line is not None:
                self._line.read()
        except BaseException:
            self.close()
            raise

    def open_line(self) -> None:
        """Make it possible to post, if this broker knows how."""
        if self._line is None or not self._line.is_open:
            self._line = Line.of(self._channel())

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
        line, self._line = self._line, None
        if connection is not None:
            try:
                if line is not None:
                    line.close()
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
    channel.client.lpush(channel._q_for_pri(address.queue, address.priority), *_payloads(address, jobs))


def _payloads(address: Address, jobs: Sequence[NewJob | DueJob]) -> list[str]:
    return [_ENCODER.encode(_redis_message(address, job)) for job in jobs]


MARKED = f'"headers":{{"{MARK}":1,'
"""What every wake-up in Redis contains, and no other message: elsewhere its quotes would be escaped."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))
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
        self._broker = self._make_broker()
        self._in_use = threading.Lock()  # of the broker: whoever posts does not wait for it
        self._waiting: deque[NewJob] = deque(maxlen=self._capacity)
        self._posted: list[NewJob] = []
        self._ring = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asleep = self._idle = True

    def push(self, jobs: Sequence[NewJob]) -> None:
        """Send wake-ups now or soon; never blocks, never raises."""
        if not jobs:
            return
        if self._pid != os.getpid():  # a thread and its lock do not cross a fork
            self._begin_process()
        posted = self._post(jobs)
        with self._ring:
            if not posted:
                self._waiting.extend(jobs)
            if self._thread is None:
                self._start()
            if self._asleep or not posted:
                self._ring.notify()

    def _post(self, jobs: Sequence[NewJob]) -> bool:
        """Send wake-ups from here, unless they are many, others wait already, or the broker is busy."""
        address = Address(jobs[0].queue, jobs[0].priority)
        if len(jobs) > FEW or self._waiting or not self._in_use.acquire(blocking=False):
            return False
        try:
            done = all(address == Address(job.queue, job.priority) for job in jobs) and self._broker.post(address, jobs)
            self._posted += jobs if done else ()
        except Exception as error:  # the thread will find out what it is
            log.debug("not_posted", error=repr(error))
            return False
        finally:
            self._in_use.release()
        return done

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="trilho-pipe", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def flush(self, timeout: float = FLUSH_AT_EXIT) -> bool:
        """Wait until everything is handed over, at most `timeout` seconds; whether it is."""
        deadline = time.monotonic() + timeout
        while self._pid == os.getpid() and (self._waiting or self._posted or not self._idle):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def _run(self) -> None:
        pause = 0.0
        while True:
            batch = self._take()
            with self._in_use:
                batch = self._unconfirmed() + batch
                failed, error = self._send(batch)
            if error is None:
                pause = 0.0
                time.sleep(GATHER)
            else:
                pause = min(5.0, pause * 2 or 0.2)
                log.warning("broker.away", error=repr(error), waiting=len(self._waiting), retry_in=pause)
                if len(failed) == len(batch):  # otherwise the fault lies in them: the dispatcher finds their rows
                    self._waiting.extendleft(reversed(batch[: self._capacity - len(self._waiting)]))
                time.sleep(pause)

    def _unconfirmed(self) -> list[NewJob]:
        """What was posted, if that may not have arrived."""
        posted, self._posted = self._posted, []
        try:
            self._broker.confirm()
        except Exception as error:  # whatever the broker's client raises: they are sent again
            log.debug("not_confirmed", error=repr(error), jobs=len(posted))
            return posted
        return []

    def _send(self, batch: Sequence[NewJob]) -> tuple[list[NewJob], Exception | None]:
        failed: list[NewJob] = []
        last: Exception | None = None
        for address, jobs in by_address(batch).items():
            try:
                self._broker.send(address, jobs)
                self._broker.open_line()
            except Exception as error:  # whatever the broker's client raises: the rows are safe
                failed += jobs
                last = error
        return failed, last

    def _take(self) -> list[NewJob]:
        """What waits; nothing, if only answers do."""
        with self._ring:
            self._idle, looks = True, 0
            while not self._waiting and not (self._posted and looks):
                self._asleep = looks >= LINGER
                self._ring.wait(None if self._asleep else ANSWERS)
                looks = 0 if self._asleep else looks + 1
            self._idle = self._asleep = False
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
