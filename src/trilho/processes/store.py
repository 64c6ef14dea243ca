"""The verbs on processes and duties; one statement of `processes.sql` each."""

import json
from dataclasses import asdict, dataclass, field
from uuid import UUID

from trilho.db.pool import Connection
from trilho.db.sql import beside

SQL = beside(__file__, "processes.sql")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a process says about itself when it registers."""

    kind: str
    name: str
    hostname: str
    pid: int
    version: str
    lease: float
    pool: str | None = None
    concurrency: int | None = None
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


@dataclass(slots=True)
class Pulse:
    """What a process says with each renewal; counted by the process itself."""

    state: str = "running"
    running: int = 0
    processed: int = 0
    dropped: int = 0
    last_progress: float | None = None
    queues: tuple[str, ...] = ()
    finished: dict[str, int] = field(default_factory=dict)


def register(connection: Connection, incarnation: UUID, info: ProcessInfo) -> None:
    """Write the row of a new incarnation."""
    values = asdict(info) | {"incarnation": incarnation, "queues": list(info.queues), "tasks": list(info.tasks)}
    connection.execute(SQL["register"], values)


def renew(connection: Connection, incarnation: UUID, pulse: Pulse) -> bool:
    """Renew the lease; False if the incarnation has been declared lost."""
    values = asdict(pulse) | {
        "incarnation": incarnation,
        "finished": json.dumps(pulse.finished),
        "queues": list(pulse.queues),
    }
    return connection.execute(SQL["renew"], values).fetchone() is not None


def leave(connection: Connection, incarnation: UUID) -> None:
    """The process ends in order."""
    connection.execute(SQL["leave"], {"incarnation": incarnation})
    connection.execute(SQL["give_up_duties"], {"owner": incarnation})


def declare_lost(connection: Connection) -> list[tuple[UUID, str]]:
    """Declare processes lost whose lease ran out; returns incarnation and name."""
    connection.execute(SQL["note_epoch"])
    return [(row[0], row[1]) for row in connection.execute(SQL["declare_lost"])]


def dead_with_jobs(connection: Connection, lease: float) -> list[UUID]:
    """Incarnations that are not alive and still own running jobs."""
    return [row[0] for row in connection.execute(SQL["dead_with_jobs"], {"lease": lease})]


def absolve(connection: Connection, incarnation: UUID) -> None:
    """Take back the crashes that were presumed when this incarnation's lease ran out."""
    connection.execute(SQL["absolve"], {"incarnation": incarnation})


def take_duty(connection: Connection, name: str, owner: UUID, seconds: float) -> bool:
    """Take or keep a duty that only one process may have."""
    values = {"name": name, "owner": owner, "seconds": seconds}
    return connection.execute(SQL["take_duty"], values).fetchone() is not None


def forget(connection: Connection) -> None:
    """Delete rows of processes that ended a day ago."""
    connection.execute(SQL["forget"])


def known_tasks(connection: Connection) -> list[str]:
    """The tasks that some live process knows."""
    return _list(connection, "known_tasks")


def known_queues(connection: Connection) -> list[str]:
    """The queues that some live process consumes."""
    return _list(connection, "known_queues")


def _list(connection: Connection, query: str) -> list[str]:
    row = connection.execute(SQL[query]).fetchone()
    return list(row[0]) if row else []
