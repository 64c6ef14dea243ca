"""Relay and consumer processes are killed and stopped: nothing is lost, each effect is there once, keys keep order."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from trilho import Trilho
from trilho.embedded import leash

RELAY = ("relay.before_commit", "relay.after_commit")
CONSUME = ("consume.before_commit", "consume.after_commit")
KEYS = 5
PATIENCE = 45.0


@dataclass
class Streams:
    """A database, and processes that move its events."""

    url: str
    folder: Path
    app: Trilho
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, fault: str = "") -> None:
        """A `dispatcher` (it has the relay) or a consumer, armed with a fault point."""
        command = ["dispatcher"] if name == "dispatcher" else ["consumer", "-n", name, "-c", "2"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                leash.command(
                    os.getpid(), signal.SIGKILL, -1, -1, [sys.executable, "-m", "trilho.cli", *command, "-A", APP]
                ),
                cwd=ROOT,
                env=self._environment(fault),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _environment(self, fault: str) -> Mapping[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRILHO_")}
        return own | {
            "TRILHO_DATABASE_URL": self.url,
            "TRILHO_DATA": str(self.folder),
            "TRILHO_LEASE": "2",
            "TRILHO_TICK": "0.1",
            "TRILHO_FAULT": fault,
        }

    def signal(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def end(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def ended(self, name: str) -> bool:
        return self.running[name].poll() is not None

    def publish(self, count: int, begin: int = 0) -> None:
        """`count` numbers in transactions of ten, spread over the keys in turn."""
        for first in range(begin, begin + count, 10):
            with self.app.transaction():
                self.app.bus.publish_many("numbers", [(f"k{n % KEYS}", {"n": n}) for n in range(first, first + 10)])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with databases.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def all_counted_once(self, count: int) -> None:
        """Each number has both its effects once, in the order of its key, and nothing is left anywhere."""
        eventually(
            lambda: self.query("SELECT count(*) FROM effects"), lambda rows: rows[0][0] >= 2 * count, timeout=PATIENCE
        )
        eventually(lambda: self.query("SELECT count(*) FROM trilho.outbox"), lambda rows: rows == [(0,)])
        for prefix in ("", "passed "):
            for key in range(KEYS):
                rows = self.query(f"SELECT value::int FROM effects WHERE key = '{prefix}k{key}' ORDER BY number")
                assert [row[0] for row in rows] == list(range(key, count, KEYS))
        assert self.query("SELECT count(*) FROM trilho.parked_keys") == [(0,)]
        assert self.query("SELECT count(*) FROM trilho.dead_letters") == [(0,)]


APP = "tests.events.application"


@pytest.fixture
def streams(database: str, tmp_path: Path) -> Iterator[Streams]:
    with ExitStack() as stack:
        with databases.connect(database) as connection:
            connection.execute(
                "CREATE TABLE effects (number bigint GENERATED ALWAYS AS IDENTITY, key text, value text)"
            )
        app = Trilho("streams", database=database, broker="memory://")
        stack.callback(app.close)
        stack.callback(app.database.close)
        streams = Streams(database, tmp_path, app)
        stack.callback(lambda: [streams.end(name) for name in list(streams.running)])
        yield streams


@pytest.mark.parametrize("point", RELAY)
def test_relay_killed_at_a_fault_point_loses_and_doubles_nothing(streams: Streams, point: str) -> None:
    streams.start("c1")
    streams.start("dispatcher", f"{point}=kill@3")
    streams.publish(200)
    eventually(lambda: streams.ended("dispatcher"), timeout=PATIENCE)
    streams.start("dispatcher")
    streams.publish(100, begin=200)
    streams.all_counted_once(300)


@pytest.mark.parametrize("point", CONSUME)
def test_consumer_killed_at_a_fault_point_loses_and_doubles_nothing(streams: Streams, point: str) -> None:
    streams.start("dispatcher")
    streams.start("c1", f"{point}=kill@4")
    streams.publish(200)
    eventually(lambda: streams.ended("c1"), timeout=PATIENCE)
    streams.start("c2")
    streams.publish(100, begin=200)
    streams.all_counted_once(300)


@pytest.mark.parametrize("point", CONSUME)
def test_consumer_that_stands_still_is_replaced_and_its_late_commit_counts_not(streams: Streams, point: str) -> None:
    streams.start("dispatcher")
    streams.start("c1", f"{point}=stop@4")
    streams.publish(200)
    streams.start("c2")
    eventually(
        lambda: streams.query("SELECT name FROM trilho.processes WHERE kind = 'consumer' AND state = 'lost'"),
        lambda rows: rows == [("c1",)],
        timeout=PATIENCE,
    )
    streams.all_counted_once(200)
    streams.signal("c1", signal.SIGCONT)
    streams.publish(100, begin=200)
    streams.all_counted_once(300)


@pytest.mark.parametrize("point", RELAY)
def test_relay_that_stands_still_is_replaced(streams: Streams, point: str) -> None:
    streams.start("c1")
    streams.start("dispatcher", f"{point}=stop@3")
    streams.publish(200)
    eventually(lambda: streams.query("SELECT count(*) FROM trilho.log"), lambda rows: rows[0][0] > 0, timeout=PATIENCE)
    streams.running["frozen"] = streams.running.pop("dispatcher")
    streams.start("dispatcher")
    streams.all_counted_once(200)
    streams.signal("frozen", signal.SIGCONT)
    streams.publish(100, begin=200)
    streams.all_counted_once(300)
