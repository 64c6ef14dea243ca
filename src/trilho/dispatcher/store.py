"""The verbs of the dispatcher on jobs: which rows need a wake-up, and which wake-ups are lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from trilho.db.pool import Connection
from trilho.jobs.job import DueJob
from trilho.jobs.store import SQL, rows_json

BEGINNING = datetime(2000, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Due:
    """Which due jobs to take: `overdue` is in seconds, `floor` the oldest time to look at."""

    queues: Sequence[str]
    tasks: Sequence[str]
    limit: int
    overdue: float = 0.0
    floor: datetime = BEGINNING


def take_due(connection: Connection, due: Due) -> list[DueJob]:
    """Take due jobs that nobody has been told of; they count as sent from now on."""
    values: dict[str, Any] = {
        "queues": list(due.queues),
        "tasks": list(due.tasks),
        "limit": due.limit,
        "overdue": due.overdue,
        "floor": due.floor,
    }
    with connection.cursor(row_factory=class_row(DueJob)) as cursor:
        jobs = cursor.execute(SQL["take_due"], values).fetchall()
    return sorted(jobs, key=lambda job: (-job.priority, job.run_at))


def give_back(connection: Connection, jobs: Sequence[DueJob]) -> None:
    """The jobs could not be handed over after all."""
    connection.execute(SQL["resend"], {"ids": [job.id for job in jobs]})


def old_sent(connection: Connection, grace: float, limit: int) -> list[tuple[str, int]]:
    """Queues that have wake-ups older than the grace, and how many, counted up to `limit`."""
    rows = connection.execute(SQL["old_sent"], {"grace": grace, "limit": limit}).fetchall()
    return [(row[0], row[1]) for row in rows if row[1]]


def lose_all(connection: Connection, queue: str, grace: float, limit: int) -> int:
    """The broker has nothing for this queue: take its old wake-ups for lost; returns how many."""
    return connection.execute(SQL["lose_all"], {"queue": queue, "grace": grace, "limit": limit}).rowcount


def lose_overtaken(connection: Connection, grace: float, limit: int) -> int:
    """Take wake-ups for lost that later ones have overtaken; returns how many."""
    return connection.execute(SQL["lose_overtaken"], {"grace": grace, "limit": limit}).rowcount


def settle_marks(connection: Connection, marks: Mapping[tuple[str, int], float]) -> None:
    """Note until when the wake-ups of each queue and priority have been received."""
    rows = [
        {"queue": queue, "priority": priority, "settled": datetime.fromtimestamp(at, timezone.utc)}
        for (queue, priority), at in sorted(marks.items())
    ]
    if rows:
        connection.execute(SQL["settle_marks"], {"rows": rows_json(rows)})


def strays(connection: Connection, worker: UUID, known: Sequence[UUID]) -> list[tuple[str, UUID]]:
    """Running jobs of this worker under claims that it does not know any more."""
    return connection.execute(SQL["strays"], {"worker": worker, "known": list(known)}).fetchall()


def cancel_requests(connection: Connection, worker: UUID) -> list[str]:
    """The running jobs of a worker that somebody wants to end."""
    return [row[0] for row in connection.execute(SQL["cancel_requests"], {"worker": worker})]
