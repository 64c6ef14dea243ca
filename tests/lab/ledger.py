"""The independent count: what really happened, in a database that Trilho does not know."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg

from tests.lab import database

LEDGER_TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
    key text NOT NULL, event text NOT NULL, attempt int NOT NULL, pid int NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp())
"""
EFFECTS_TABLE = """
CREATE TABLE IF NOT EXISTS effects (
    key text NOT NULL, attempt int NOT NULL, pid int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


@dataclass(frozen=True)
class Entry:
    """One thing that a body did; `event` is `began`, `tick` or `done`."""

    key: str
    event: str
    attempt: int
    pid: int
    at: datetime


@dataclass(frozen=True)
class Account:
    """What became of the expected keys."""

    lost: list[str]
    doubled: list[str]
    unexpected: list[str]


EXACT = Account(lost=[], doubled=[], unexpected=[])
"""Everything exactly once, and nothing else."""


class Ledger:
    """Each entry is committed at once, on a connection of its own for each process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connections: dict[int, database.Connection] = {}

    @classmethod
    def create(cls, server: str) -> "Ledger":
        """A ledger in a new database of this server."""
        url = database.create(server, prefix="ledger")
        with database.connect(url) as connection:
            connection.execute(LEDGER_TABLE)
        return cls(url)

    def write(self, key: str, event: str, attempt: int, pid: int) -> None:
        """Add one entry; it is durable when this returns."""
        connection = self._connections.get(os.getpid())
        if connection is None:
            connection = self._connections[os.getpid()] = psycopg.connect(self.url, autocommit=True)
        connection.execute(
            "INSERT INTO ledger (key, event, attempt, pid) VALUES (%s, %s, %s, %s)", (key, event, attempt, pid)
        )

    def close(self) -> None:
        """Close the connection of this process."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    def entries(self, key: str | None = None, event: str | None = None) -> list[Entry]:
        """The entries in order of time, all or those of one key or event."""
        query = (
            "SELECT key, event, attempt, pid, at FROM ledger WHERE (%(key)s::text IS NULL OR key = %(key)s)"
            " AND (%(event)s::text IS NULL OR event = %(event)s) ORDER BY at"
        )
        with database.connect(self.url) as connection:
            return [Entry(*row) for row in connection.execute(query, {"key": key, "event": event})]

    def count(self, event: str) -> int:
        """How many entries of one event there are."""
        with database.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM ledger WHERE event = %s", (event,)).fetchone()
        assert row is not None
        return int(row[0])

    def done(self) -> Counter[str]:
        """How often each key ran to its end."""
        return Counter(entry.key for entry in self.entries(event="done"))


def effects(url: str) -> Counter[str]:
    """How often each key stands in the table `effects` of the application's own database."""
    with database.connect(url) as connection:
        return Counter(key for (key,) in connection.execute("SELECT key FROM effects"))


def account(expected: Iterable[str], counted: Counter[str]) -> Account:
    """Compare what should have happened exactly once with what did."""
    wanted = set(expected)
    return Account(
        lost=sorted(wanted - counted.keys()),
        doubled=sorted(key for key, times in counted.items() if times > 1),
        unexpected=sorted(counted.keys() - wanted),
    )
