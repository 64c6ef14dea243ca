"""The same application on either log."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from tests.events.conftest import Stream
from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho import Trilho, Tx
from trilho.events.admin import Streams
from trilho.events.event import Event


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
