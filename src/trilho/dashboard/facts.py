"""What the database knows of an operation, as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from psycopg.rows import class_row

from trilho.dashboard.rows import AttemptRow, JobRow, LoggedRow, NoteRow, ReaderRow, SagaRow, StepRow
from trilho.db.pool import Connection
from trilho.db.sql import beside

SQL = beside(__file__, "operation.sql")

MOST_OPERATIONS = 20
MOST_NOTES = 1_000
MOST_COUNTED = 20_000
MOST_ATTEMPTS = 20
MOST_SAGAS = 200
MOST_STEPS = 500
LONGEST = 20_000
"""Characters of a result or of data that are looked at."""


@dataclass(frozen=True)
class Facts:
    """Everything that a page about an operation is made of; `total` counts the notes that are not here, too."""

    operations: Sequence[str]
    now: datetime
    notes: Sequence[NoteRow] = ()
    total: int = 0
    jobs: Sequence[JobRow] = ()
    job_states: Mapping[str, int] = field(default_factory=dict)
    attempts: Sequence[AttemptRow] = ()
    readers: Sequence[ReaderRow] = ()
    logged: Sequence[LoggedRow] = ()
    sagas: Sequence[SagaRow] = ()
    steps: Sequence[StepRow] = ()

    def first_notes(self, kind: str) -> dict[str, NoteRow]:
        """The first note of each id of a kind."""
        return {note.id: note for note in reversed(self.notes) if note.kind == kind}


def read(connection: Connection, wanted: str) -> Facts | None:
    """The facts of one operation, or of those that an id belongs to; None for an id that nothing has."""
    found = connection.execute(SQL["operations"], {"id": wanted, "limit": MOST_OPERATIONS}).fetchall()
    operations = [row[0] for row in found]
    if not operations:
        return None
    notes = _rows(connection, NoteRow, "notes", operations=operations, limit=MOST_NOTES)
    cut = len(notes) == MOST_NOTES
    sagas = _rows(connection, SagaRow, "sagas", operations=operations, limit=MOST_SAGAS, longest=LONGEST)
    runs = [saga.id for saga in sagas]
    steps = _rows(connection, StepRow, "steps", ids=runs, each=MOST_STEPS, longest=LONGEST) if runs else []
    noted = (note.id for note in notes if note.kind == "job")
    ids = list(dict.fromkeys([*operations, *noted, *(step.job_id for step in steps if step.job_id)]))
    jobs = _rows(connection, JobRow, "jobs", ids=ids, longest=LONGEST)
    topics = sorted({note.name for note in notes if note.kind in {"event", "handling"}})
    return Facts(
        operations=operations,
        now=_value(connection, "now"),
        notes=notes,
        total=_value(connection, "count", operations=operations, limit=MOST_COUNTED) if cut else len(notes),
        jobs=jobs,
        job_states=_job_states(connection, operations) if cut else {},
        attempts=_rows(connection, AttemptRow, "attempts", ids=[job.id for job in jobs], each=MOST_ATTEMPTS),
        readers=_rows(connection, ReaderRow, "readers", topics=topics) if topics else (),
        logged=_logged(connection, notes),
        sagas=sagas,
        steps=steps,
    )


def _logged(connection: Connection, notes: Sequence[NoteRow]) -> Sequence[LoggedRow]:
    places = sorted({(n.name, n.partition or 0, n.offset) for n in notes if n.offset is not None})
    if not places:
        return ()
    topics, partitions, offsets = zip(*places, strict=True)
    values = {"topics": list(topics), "partitions": list(partitions), "offsets": list(offsets)}
    return _rows(connection, LoggedRow, "logged", **values, longest=LONGEST)


def _job_states(connection: Connection, operations: Sequence[str]) -> dict[str, int]:
    values = {"operations": operations, "limit": MOST_COUNTED}
    return dict(connection.execute(SQL["job_states"], values).fetchall())


Row = TypeVar("Row")


def _rows(connection: Connection, kind: type[Row], query: str, **values: Any) -> list[Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(SQL[query], values).fetchall()


def _value(connection: Connection, query: str, **values: Any) -> Any:
    row = connection.execute(SQL[query], values).fetchone()
    assert row is not None
    return row[0]
