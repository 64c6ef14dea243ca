"""The verbs on the tables of sagas, each a statement of `sagas.sql`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
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
from trilho.sagas.view import LostAttempt, SagaFilter, SagaPage, SagaRun, SagaStep

SQL = beside(__file__, "sagas.sql")
TASK = "trilho.saga."
MARK = "trilho_saga"
"""Kept header of the jobs of sagas: stretches, and steps that are tasks."""


def load(connection: Connection, wanted: Sequence[tuple[str, str]]) -> list[Run | None]:
    """The runs with these ids whose stretches these jobs are; None where it is not, any more or yet."""
    values = {"ids": [saga for saga, _ in wanted], "jobs": [job for _, job in wanted]}
    with connection.cursor() as cursor:
        found = {(row[1], row[0]): Run(*row[1:]) for row in cursor.execute(SQL["load"], values)}
    return [found.get(each) for each in wanted]


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


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of one run that are to be written under a claim."""

    saga: str
    claim: Claim
    entries: Sequence[Entry]


def record(connection: Connection, pages: Sequence[Page], *, ending: bool = False) -> list[bool | None]:
    """Write entries; for each run, whether somebody has asked for its end. None where not all were written: under a
    lost claim none is."""
    if len({page.saga for page in pages}) < len(pages):  # one of two claims is lost, and must not pass by the other's
        return [told for page in pages for told in record(connection, [page], ending=ending)]
    claims = [{"saga": page.saga, "job": page.claim.job_id, "token": page.claim.token} for page in pages]
    rows = [_row(entry) | {"saga": page.saga} for page in pages for entry in page.entries]
    values = {"ending": ending, "claims": rows_json(claims), "rows": rows_json(rows)}
    written: dict[str, list[bool]] = defaultdict(list)
    for saga, cancelled in connection.execute(SQL["record"], values).fetchall():
        written[saga].append(cancelled)
    return [any(seen) if len(seen := written[page.saga]) == len(page.entries) else None for page in pages]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that came to its result, as JSON, and the last of its entries."""

    page: Page
    result: str


def complete(connection: Connection, slices: Sequence[Sequence[Ended]]) -> list[set[str]]:
    """Complete runs together with their jobs, and write the last of their entries; of each slice the jobs for which
    that was done."""
    ends = [end for one in slices for end in one]
    if len(slices) > 1 and len({end.page.saga for end in ends}) < len(ends):  # as for `record`
        return [told for one in slices for told in complete(connection, [one])]
    rows = [
        {"saga": e.page.saga, "job": e.page.claim.job_id, "token": e.page.claim.token, "result": e.result} for e in ends
    ]
    last = [_row(entry) | {"saga": end.page.saga} for end in ends for entry in end.page.entries]
    done = {
        row[0]
        for row in connection.execute(SQL["complete_together"], {"rows": rows_json(rows), "steps": rows_json(last)})
    }
    return [done & {end.page.claim.job_id for end in one} for one in slices]


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
    [found] = views(connection, [saga_id])
    return found


def views(connection: Connection, ids: Sequence[str]) -> list[SagaRun | None]:
    """Runs as people see them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = {row["id"]: row for row in cursor.execute(SQL["view"], {"ids": list(set(ids))})}
    return [SagaRun.from_row(dict(found[each])) if each in found else None for each in ids]


def history(connection: Connection, saga_id: str) -> list[SagaStep]:
    """Everything recorded of a run, in the order of its beginning."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [SagaStep.from_row(row) for row in cursor.execute(SQL["history"], {"id": saga_id})]


MOST_NOTES, MOST_LOST = 20_000, 100


def lost(connection: Connection, saga_id: str) -> list[LostAttempt]:
    """The attempts of a run's jobs that ended with their worker, in order; of very many notes and attempts some."""
    values = {"id": saga_id, "notes": MOST_NOTES, "limit": MOST_LOST}
    with connection.cursor(row_factory=class_row(LostAttempt)) as cursor:
        return cursor.execute(SQL["lost"], values).fetchall()


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
