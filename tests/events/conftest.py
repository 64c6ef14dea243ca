"""An application with a bus, a relay and consumers in threads, on a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.events.consumer import Consumer, ConsumerOptions
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


@pytest.fixture
def stream(database: str) -> Iterator[Stream]:
    app = Trilho("streams", database=database, broker="memory://")
    with ExitStack() as stack:
        stack.callback(app.close)
        stack.callback(app.database.close)
        stack.enter_context(databases.connect(database)).execute("CREATE TABLE effects (key text, value text)")
        yield Stream(app, database, stack)
