"""Relay and consumer processes are killed and stopped: nothing is lost, each effect is there once, keys keep order."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.conftest import LOGS
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from trilho import Trilho
from trilho.embedded import leash

RELAY = ("relay.before_commit", "relay.after_commit")
CONSUME = ("consume.before_commit", "consume.swapped", "consume.after_commit")
SHORT_SESSIONS = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}
KEYS = 5
PATIENCE = 45.0


@dataclass
class Streams:
    """A database, and processes that move its events."""

    url: str
    folder: Path
    app: Trilho
    kafka: str | None = None
    prefix: str = ""
    short_sessions: bool = True
    published: int = 0
    logs: list[Path] = field(default_factory=list)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, fault: str = "") -> None:
        """A `dispatcher` (it has the relay) or a consumer, armed with a fault point."""
        command = ["dispatcher"] if name == "dispatcher" else ["consumer", "-n", name, "-c", "2"]
        self.logs.append(self.folder / f"{name}.log")
        with self.logs[-1].open("ab") as log:
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
        return (
            own
            | {
                "TRILHO_DATABASE_URL": self.url,
                "TRILHO_DATA": str(self.folder),
                "TRILHO_LEASE": "2",
                "TRILHO_TICK": "0.1",
                "TRILHO_FAULT": fault,
                "STREAMS_PREFIX": self.prefix,
            }
            | self._on_kafka()
        )

    def _on_kafka(self) -> Mapping[str, str]:
        if self.kafka is None:
            return {}
        options = SHORT_SESSIONS if self.short_sessions else {}
        return {"TRILHO_KAFKA_BOOTSTRAP": self.kafka, "TRILHO_KAFKA_OPTIONS": json.dumps(options)}

    def signal(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def end(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def stands_still(self, name: str) -> bool:
        return psutil.Process(self.running[name].pid).status() == psutil.STATUS_STOPPED

    def ended(self, name: str) -> bool:
        return self.running[name].poll() is not None

    def publish(self, count: int) -> None:
        """`count` numbers in transactions of ten, spread over the keys in turn."""
        begin, self.published = self.published, self.published + count
        for first in range(begin, begin + count, 10):
            with self.app.transaction():
                self.app.bus.publish_many(
                    f"{self.prefix}numbers", [(f"k{n % KEYS}", {"n": n}) for n in range(first, first + 10)]
                )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with databases.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def let_leases_run_out(self) -> None:
        """Of a relay that is dead, at once."""
        with databases.connect(self.url) as connection:
            connection.execute("UPDATE trilho.shards SET until = '-infinity'")

    def all_counted_once(self) -> None:
        """Each number has both its effects once, in the order of its key, and nothing is left anywhere."""
        count = self.published
        eventually(
            lambda: self.query("SELECT count(*) FROM effects"), lambda rows: rows[0][0] >= 2 * count, timeout=PATIENCE
        )
        eventually(lambda: self.query("SELECT count(*) FROM trilho.outbox"), lambda rows: rows == [(0,)])
        for prefix in ("", "passed "):
            for key in range(KEYS):
                rows = self.query(f"SELECT value::int FROM effects WHERE key = '{prefix}k{key}' ORDER BY number")
                assert [row[0] for row in rows] == list(range(key, count, KEYS))
        done = "SELECT count(*), count(DISTINCT (id, via)) FROM trilho.timeline WHERE outcome = 'done'"
        assert self.query(done) == [(2 * count, 2 * count)]  # noted in the commit of the effect
        assert self.query("SELECT count(*) FROM trilho.parked_keys") == [(0,)]
        assert self.query("SELECT count(*) FROM trilho.dead_letters") == [(0,)]


APP = "tests.events.application"


@contextmanager
def laid(request: pytest.FixtureRequest, kafka: str | None = None) -> Iterator[Streams]:
    url, folder = request.getfixturevalue("database"), request.getfixturevalue("tmp_path")
    with ExitStack() as stack:
        with databases.connect(url) as connection:
            connection.execute(
                "CREATE TABLE effects (number bigint GENERATED ALWAYS AS IDENTITY, key text, value text)"
            )
        app = Trilho("streams", database=url, broker="memory://")
        stack.callback(app.close)
        stack.callback(app.database.close)
        prefix = "" if kafka is None else f"f{uuid4().hex[:8]}."
        streams = Streams(url, folder, app, kafka, prefix, request.node.stash.setdefault(LOGS, []))
        stack.callback(lambda: [streams.end(name) for name in list(streams.running)])
        yield streams


@pytest.fixture
def streams(request: pytest.FixtureRequest) -> Iterator[Streams]:
    with laid(request) as made:
        yield made


@pytest.fixture(params=["postgres", "kafka"])
def either(request: pytest.FixtureRequest) -> Iterator[Streams]:
    """Streams on each of the logs."""
    with laid(request, request.getfixturevalue("kafka") if request.param == "kafka" else None) as made:
        yield made


@pytest.mark.parametrize("point", RELAY)
def test_relay_killed_at_a_fault_point_loses_and_doubles_nothing(streams: Streams, point: str) -> None:
    streams.start("c1")
    streams.start("dispatcher", f"{point}=kill@3")
    streams.publish(200)
    eventually(lambda: streams.ended("dispatcher"), timeout=PATIENCE)
    streams.let_leases_run_out()
    streams.start("dispatcher")
    streams.publish(100)
    streams.all_counted_once()


def all_reach_their_points(streams: Streams, action: str, reached: Callable[[str], bool]) -> None:
    """A consumer for each fault point; who is left gets the partitions of the others, and so has enough to do."""
    names = {f"c{place}": point for place, point in enumerate(CONSUME)}
    for name, point in names.items():
        streams.start(name, f"{point}={action}@3")
    eventually(lambda: streams.publish(10) or all(map(reached, names)), timeout=PATIENCE, every=0.2)


def test_consumers_killed_at_every_fault_point_lose_and_double_nothing(either: Streams) -> None:
    either.start("dispatcher")
    all_reach_their_points(either, "kill", either.ended)
    either.start("healthy")
    either.publish(100)
    either.all_counted_once()


def test_consumers_that_stand_still_are_replaced_and_their_late_commits_count_not(either: Streams) -> None:
    either.start("dispatcher")
    all_reach_their_points(either, "stop", either.stands_still)
    either.start("healthy")
    either.all_counted_once()
    for place in range(len(CONSUME)):
        either.signal(f"c{place}", signal.SIGCONT)
    either.publish(100)
    either.all_counted_once()


@pytest.mark.parametrize("point", RELAY)
def test_relay_that_stands_still_is_replaced(streams: Streams, point: str) -> None:
    streams.start("c1")
    streams.start("dispatcher", f"{point}=stop@3")
    streams.publish(200)
    eventually(lambda: streams.stands_still("dispatcher"), timeout=PATIENCE)
    streams.running["frozen"] = streams.running.pop("dispatcher")
    streams.start("dispatcher")
    streams.all_counted_once()
    streams.signal("frozen", signal.SIGCONT)
    streams.publish(100)
    streams.all_counted_once()
