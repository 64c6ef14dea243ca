"""Relay processes and the broker are killed and stopped: read_committed readers see each event once, keys in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.conftest import LOGS
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.lab.topics import Reader
from trilho import Trilho
from trilho.embedded import leash

IN_DOUBT = ("relay.numbered", "relay.before_kafka_commit", "relay.after_kafka_commit")
POINTS = (*IN_DOUBT, "relay.settled")
KEYS = 5
PATIENCE = 45.0


@dataclass
class Street:
    """A database, a broker, and relays between them."""

    url: str
    bootstrap: str
    folder: Path
    app: Trilho
    topic: str
    logs: list[Path]
    published: int = 0
    relays: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def relay(self, fault: str = "") -> "subprocess.Popen[bytes]":
        """A dispatcher, armed with a fault point."""
        self.logs.append(self.folder / f"relay{len(self.relays)}.log")
        arguments = [sys.executable, "-m", "trilho.cli", "dispatcher", "-A", "tests.events.application"]
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRILHO_")}
        ours = {"DATABASE_URL": self.url, "KAFKA_BOOTSTRAP": self.bootstrap, "DATA": str(self.folder), "TICK": "0.1"}
        with self.logs[-1].open("ab") as log:
            process = subprocess.Popen(
                leash.command(os.getpid(), signal.SIGKILL, -1, -1, arguments),
                cwd=ROOT,
                env=own | {f"TRILHO_{name}": value for name, value in ours.items()} | {"TRILHO_FAULT": fault},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.relays.append(process)
        return process

    def publish(self, count: int) -> None:
        """`count` numbers in transactions of ten, spread over the keys in turn."""
        begin, self.published = self.published, self.published + count
        for first in range(begin, begin + count, 10):
            with self.app.transaction():
                items = [(f"k{n % KEYS}", {"n": n}) for n in range(first, first + 10)]
                self.app.bus.publish_many(self.topic, items)

    def left(self) -> int:
        with databases.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM trilho.outbox").fetchone()
        return 0 if row is None else int(row[0])

    def all_seen_once_in_order(self) -> None:
        """What was published is in Kafka, each event once, each key in order, and nothing is left in the outbox."""
        eventually(self.left, lambda rows: rows == 0, timeout=PATIENCE)
        with Reader(self.bootstrap, (self.topic,)) as reader:
            seen = reader.read(self.published).values()
        expected = {f"k{key}": list(range(key, self.published, KEYS)) for key in range(KEYS)}
        assert {key: [value["n"] for value in values] for key, values in seen.items()} == expected

    def let_leases_run_out(self) -> None:
        """At once: whoever has shards is dead, or stands still."""
        with databases.connect(self.url) as connection:
            connection.execute("UPDATE trilho.shards SET until = '-infinity'")

    def end(self) -> None:
        for process in self.relays:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


Lay = Callable[[str], Street]


@pytest.fixture
def lay(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lay]:
    with ExitStack() as stack:

        def make(bootstrap: str) -> Street:
            app = Trilho("street", database=database, broker="memory://")
            stack.callback(app.close)
            stack.callback(app.database.close)
            logs: list[Path] = request.node.stash.setdefault(LOGS, [])
            street = Street(database, bootstrap, tmp_path, app, f"street-{uuid4().hex[:8]}", logs)
            stack.callback(street.end)
            return street

        yield make


def stands_still(process: "subprocess.Popen[bytes]") -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def test_relays_killed_at_every_fault_point_lose_and_double_nothing(lay: Lay, kafka: str) -> None:
    street = lay(kafka)
    for point in POINTS:
        relay = street.relay(f"{point}=kill@3")
        eventually(lambda: street.publish(20) or relay.poll(), lambda code: code == -9, timeout=PATIENCE, every=0.2)  # noqa: B023
        street.let_leases_run_out()
    street.relay()
    street.publish(100)
    street.all_seen_once_in_order()


def test_relays_that_stand_still_in_the_middle_of_a_batch_are_fenced_off_when_they_go_on(lay: Lay, kafka: str) -> None:
    street = lay(kafka)
    for point in IN_DOUBT:
        relay = street.relay(f"{point}=stop@3")
        eventually(lambda: street.publish(20) or stands_still(relay), timeout=PATIENCE, every=0.2)  # noqa: B023
        street.let_leases_run_out()
    street.relay()
    eventually(street.left, lambda rows: rows == 0, timeout=PATIENCE)
    for frozen in street.relays:
        frozen.send_signal(signal.SIGCONT)
    street.publish(100)
    street.all_seen_once_in_order()
    assert all(relay.poll() is None for relay in street.relays)
