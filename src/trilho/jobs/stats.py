"""Depth, throughput and workers, as everybody reads them."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row

from trilho.db.pool import Connection
from trilho.db.sql import beside

SQL = beside(__file__, "stats.sql")


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker: `state` is running, stopping or lost; `last_progress` is when a body last began or ended."""

    name: str
    hostname: str
    pid: int
    pool: str | None
    concurrency: int | None
    state: str
    running: int
    processed: int
    last_seen: datetime
    last_progress: datetime | None


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One queue, as last sampled."""

    name: str
    waiting: int
    scheduled: int
    running: int
    oldest_waiting_seconds: float | None
    finished_per_minute: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What `/queue/stats` shows; failures are counted up to 10,000."""

    workers: list[WorkerStats]
    queues: list[QueueDepth]
    failures: dict[str, int]


def read(connection: Connection) -> QueueStats:
    """Workers, queues and failures."""
    with connection.cursor(row_factory=class_row(WorkerStats)) as cursor:
        workers = cursor.execute(SQL["workers"]).fetchall()
    with connection.cursor(row_factory=class_row(QueueDepth)) as depths:
        queues = depths.execute(SQL["queues"]).fetchall()
    with connection.cursor(row_factory=dict_row) as counts:
        failures = counts.execute(SQL["failures"]).fetchone()
    return QueueStats(workers, queues, dict(failures or {}))


def sample(connection: Connection) -> None:
    """Count what waits and runs; done by one dispatcher at a time."""
    connection.execute(SQL["sample"])


def forget_samples(connection: Connection) -> None:
    """Delete samples older than an hour."""
    connection.execute(SQL["forget_samples"])
