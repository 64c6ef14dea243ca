"""An application with a bus, a relay and consumers in threads, on a real PostgreSQL and either log."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho import Trilho, Tx
from trilho.events.admin import Streams
from trilho.events.consumer import Consumer, ConsumerOptions
from trilho.events.event import Event
from trilho.events.relay import Relay


@dataclass
class Identity:
    incarnation: UUID = field(default_factory=uuid4)


@dataclass
class Stream:
    """The application, and what moves its events."""

    app: Trilho
    url: str
    stack: ExitStack

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with databases.connect(self.url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def relay(self) -> Relay:
        relay = Relay(self.app.database, Identity(), tick=0.05)
        relay.start()
        self.stack.callback(relay.stop)
        return relay

    def consumer(self, **options: Any) -> Callable[[], None]:
        """Start a consumer; returns what stops it."""
        stop = threading.Event()
        consumer = Consumer(
            self.app.database,
            self.app.bus.subscriptions.of(),
            self.app.coroutines,
            ConsumerOptions("test", **({"grace": 5.0} | options)),
        )
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(timeout=15)
            assert not thread.is_alive()

        self.stack.callback(end)
        return end

    def drained(self, *groups: str, timeout: float = 15.0) -> None:
        """Wait until the outbox is empty and these groups have read everything."""
        eventually(
            lambda: self.query("SELECT count(*) FROM trilho.outbox"), lambda rows: rows == [(0,)], timeout=timeout
        )
        behind = """SELECT o."group", o.topic, o.partition, o.next_offset, p.next_offset FROM trilho.offsets o
                    JOIN trilho.log_partitions p USING (topic, partition) WHERE o.next_offset < p.next_offset"""
        eventually(
            lambda: {row[0] for row in self.query('SELECT DISTINCT "group" FROM trilho.offsets')},
            lambda seen: set(groups) <= seen,
            timeout=timeout,
        )
        eventually(lambda: self.query(behind), lambda rows: not rows, timeout=timeout)


@dataclass
class World(Stream):
    """An application whose topics and groups nobody else has."""

    prefix: str = ""
    kafka: str | None = None

    @property
    def streams(self) -> Streams:
        return self.app.streams

    def name(self, what: str) -> str:
        """A topic or a group of this world's own."""
        return f"{self.prefix}.{what}"

    def subscribe(self, topic: str, group: str, broken: set[int] | None = None, **options: object) -> None:
        """Handle the events of a topic: each is one row of `effects`."""

        @self.app.bus.subscribe(topic, group=group, **options)  # type: ignore[arg-type]
        def handle(event: Event[dict[str, int]], tx: Tx) -> None:
            if event.data["n"] in (broken or set()):
                raise ValueError("broken on purpose")
            tx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, str(event.data["n"])))

    def effects(self) -> list[str]:
        return [row[0] for row in self.query("SELECT value FROM effects ORDER BY number")]

    def moved(self) -> None:
        """Wait until everything that was published is in the log."""
        eventually(lambda: self.streams.outbox().waiting, lambda waiting: waiting == [])

    def read(self, group: str, partitions: int = 1) -> None:
        """Wait until a group has read everything."""
        self.moved()

        def done() -> bool:
            rows = [row for row in self.streams.lag(group) if row.moved_at is not None]
            return len(rows) >= partitions and not any(row.lag for row in rows)

        eventually(done, timeout=20, every=0.2, ignoring=(LookupError,))


@contextmanager
def world(database: str, kafka: str | None = None) -> Iterator[World]:
    """On Kafka, if a bootstrap is given, else on the PostgreSQL log."""
    app = Trilho("streams", database=database, broker="memory://", kafka=kafka)
    with ExitStack() as stack:
        stack.callback(app.close)
        stack.callback(app.database.close)
        stack.enter_context(databases.connect(database)).execute(
            "CREATE TABLE IF NOT EXISTS effects (key text, value text, number bigint GENERATED ALWAYS AS IDENTITY)"
        )
        yield World(app, database, stack, f"w{os.getpid()}-{uuid4().hex[:8]}", kafka)
