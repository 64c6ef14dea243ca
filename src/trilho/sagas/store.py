"""The verbs on the tables of sagas, each a statement of `sagas.sql`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.jobs import codec
from trilho.jobs.enqueue import TRACE
from trilho.jobs.job import NewJob
from trilho.jobs.store import rows_json
from trilho.sagas.record import Claim, Entry, Mail, Run
from trilho.sagas.view import SagaFilter, SagaPage, SagaRun, SagaStep

SQL = beside(__file__, "sagas.sql")
TASK = "trilho.saga."
MARK = "trilho_saga"
"""Kept header of the jobs of sagas: stretches, and steps that are tasks."""


def load(connection: Connection, saga_id: str, job_id: str) -> Run | None:
    """The run whose stretch this job is; None where it is not, any more or yet."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(SQL["load"], {"id": saga_id, "job": job_id}).fetchone()


def entries(connection: Connection, saga_id: str) -> list[Entry]:
    """What is recorded, in the order of its beginning."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(SQL["entries"], {"id": saga_id}).fetchall()


def signals(connection: Connection, saga_id: str) -> list[Mail]:
    """The signals of a run, in order."""
    with connection.cursor(row_factory=class_row(Mail)) as cursor:
        return cursor.execute(SQL["signals"], {"id": saga_id}).fetchall()


def event(connection: Connection, topic: str, key: bytes, since: datetime, taken: Sequence[int]) -> Mail | None:
    """The first event of a key that is not taken."""
    values = {"topic": topic, "key": key, "since": since, "taken": list(taken)}
    with connection.cursor(row_factory=class_row(Mail)) as cursor:
        return cursor.execute(SQL["event"], values).fetchone()


def record(
    connection: Connection, saga_id: str, claim: Claim, wanted: Sequence[Entry], *, ending: bool = False
) -> bool | None:
    """Write entries; whether somebody has asked for the end of the run. None where not all were written: under a lost
    claim none is."""
    rows = [_row(entry) for entry in wanted]
    values = {"saga": saga_id, "job": claim.job_id, "token": claim.token, "ending": ending, "rows": rows_json(rows)}
    written = connection.execute(SQL["record"], values).fetchall()
    return bool(written[0][1]) if len(written) == len(rows) else None


def complete(
    connection: Connection, runs: Sequence[tuple[Claim, str, str]], steps: Sequence[tuple[str, Entry]]
) -> set[str]:
    """Complete runs, each with its result, together with their jobs, and write the last of their entries; returns the
    jobs for which that was done."""
    ends = [{"job": claim.job_id, "token": claim.token, "saga": saga, "result": text} for claim, saga, text in runs]
    last = [_row(entry) | {"saga": saga} for saga, entry in steps]
    values = {"rows": rows_json(ends), "steps": rows_json(last)}
    return {row[0] for row in connection.execute(SQL["complete_together"], values)}


def _row(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _WRITTEN} | {"key": _hex(entry.key)}


_WRITTEN = tuple(name for name in Entry.__slots__ if name not in ("key", "ended_at"))


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()


def lock_lanes(connection: Connection, lanes: Sequence[tuple[str, bytes]]) -> None:
    """Take turns with deliveries of these topics and keys until the commit."""
    rows = [{"topic": topic, "key": key.hex()} for topic, key in lanes]
    connection.execute(SQL["lock_lanes"], {"rows": rows_json(rows)})


def jobs(connection: Connection, query: str, /, **values: Any) -> list[NewJob]:
    """Run a statement that wakes runs; the stretches that it enqueued."""
    return [stretch_of(*row[:5]) for row in connection.execute(SQL[query], values).fetchall()]


def stretch_of(saga_id: str, name: str, queue: str, job_id: str, correlation_id: str) -> NewJob:
    """The job of a stretch, as its wake-up needs it."""
    return NewJob(
        id=job_id,
        task=TASK + name,
        queue=queue,
        args=codec.dumps([saga_id]),
        headers=stretch_headers(saga_id, correlation_id),
        root_id=correlation_id,
        parent_id=saga_id,
    )


def stretch_headers(saga_id: str, correlation_id: str) -> str:
    """What Celery's message would carry."""
    return codec.dumps({"properties": {}, MARK: saga_id, TRACE: {"correlation_id": correlation_id}})


def changed(connection: Connection, query: str, /, **values: Any) -> bool:
    """Run one statement; whether it hit a row."""
    return connection.execute(SQL[query], values).rowcount > 0


def view(connection: Connection, saga_id: str) -> SagaRun | None:
    """One run as people see it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["view"], {"id": saga_id}).fetchone()
    return None if row is None else SagaRun.from_row(row)


def history(connection: Connection, saga_id: str) -> list[SagaStep]:
    """Everything recorded of a run, in the order of its beginning."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [SagaStep.from_row(row) for row in cursor.execute(SQL["history"], {"id": saga_id})]


def page(connection: Connection, wanted: SagaFilter) -> SagaPage:
    """One page of runs, newest first."""
    created_at, after = wanted.place()
    values = {
        "state": wanted.state,
        "name": wanted.name,
        "created_at": created_at,
        "after": after,
        "limit": wanted.limit + 1,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        runs = [SagaRun.from_row(row) for row in cursor.execute(SQL["list"], values)]
    return SagaPage.of(runs, wanted.limit)
