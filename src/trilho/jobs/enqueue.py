"""Enqueue: what Celery would send to a broker becomes a row, in the caller's transaction if there is one."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone, tzinfo
from typing import Any, Protocol

from celery.canvas import _chain, chord, group, maybe_signature
from celery.utils.time import maybe_iso8601

from trilho import trace
from trilho.db.pending import Execute, ListSink, write_now
from trilho.db.pool import Connection, Database
from trilho.db.transaction import ambient
from trilho.errors import DuplicateJob, TransactionError
from trilho.jobs import codec
from trilho.jobs.ahead import QUICK
from trilho.jobs.attempt import running
from trilho.jobs.job import DueJob, NewJob
from trilho.jobs.store import ENQUEUE_ONE, SQL, rows_json
from trilho.jobs.unique import UniqueJob, UniqueSink

MARK = "trilho"
"""Header of our own wake-ups: only these may be dropped, for the row they speak of is elsewhere."""

ALONE = "trilho_alone"
"""Header of the wake-up of a job that must not be claimed together with others."""

_IN_COLUMNS = frozenset(
    {"lang", "task", "id", "eta", "expires", "retries", "root_id", "parent_id", "group", "timelimit", MARK}
)
_CANVAS = ("callbacks", "errbacks", "chain", "chord")

TRACE = "trilho_trace"
"""Kept header: the operation that a job belongs to, where its root job does not tell."""


class Wakeups(Protocol):
    """What tells workers that rows wait; losing a wake-up loses time, never a job."""

    def push(self, jobs: Sequence[NewJob]) -> None:
        """Send wake-ups soon; never blocks, never raises."""
        ...


@dataclass(frozen=True, eq=False)
class JobSink(ListSink):
    """Writes jobs before the commit and sends their wake-ups after it."""

    wakeups: Wakeups
    statement: str = SQL["enqueue"]
    at_once: bool = False
    repeatable: bool = True

    def parameters(self, rows: Sequence[NewJob]) -> Mapping[str, Any]:
        """All rows as one parameter; raises DuplicateJob for two different jobs with one id."""
        return {"rows": rows_json(merged(rows))}

    def check(self, rows: Sequence[NewJob], returned: Sequence[Sequence[Any]]) -> None:
        """Raise DuplicateJob for an id that belongs to another job."""
        known = {row[0] for row in returned}
        for job in rows:
            if job.id not in known:
                raise DuplicateJob(job.id)

    def write(self, execute: Execute, rows: Sequence[NewJob]) -> None:
        """Write jobs, a lone one by the cheaper statement unless its id is taken; raises DuplicateJob."""
        if len(rows) == 1 and rows[0].is_plain and execute(SQL["enqueue_one"], ENQUEUE_ONE.of(rows[0])):
            return
        super().write(execute, rows)

    def committed(self, rows: Sequence[NewJob]) -> None:
        """Send the wake-ups."""
        trace.had_effect()
        self.wakeups.push([job for job in rows if job.send and not job.held])


@dataclass(frozen=True, eq=False)
class ChordSink(ListSink):
    """Writes the fan-in of chords."""

    statement: str = SQL["open_chord"]
    at_once: bool = False
    repeatable: bool = True

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One row per chord."""
        by_id: dict[str, dict[str, Any]] = {}
        for row in rows:
            merged_row = by_id.setdefault(row["id"], {"id": row["id"], "size": None, "body": None, "body_id": None})
            merged_row.update({key: value for key, value in row.items() if value is not None})
        return {"rows": json.dumps(list(by_id.values()))}

    def check(self, rows: Sequence[Any], returned: Sequence[Sequence[Any]]) -> None:
        """Any row will do."""

    def committed(self, rows: Sequence[Any]) -> None:
        """Nobody waits for it."""


def merged(rows: Sequence[NewJob]) -> list[NewJob]:
    """One row per id; raises DuplicateJob when two jobs of one transaction share an id but not their content."""
    by_id: dict[str, NewJob] = {}
    for job in rows:
        known = by_id.get(job.id)
        if known is None or (known.held and not job.held):
            by_id[job.id] = job
        elif not (job.held or (known.task, known.args, known.kwargs) == (job.task, job.args, job.kwargs)):
            raise DuplicateJob(job.id)
    return sorted(by_id.values(), key=lambda job: job.id) if len(by_id) > 1 else list(by_id.values())


class Enqueuer:
    """Takes new jobs: into the ambient transaction, or durably at once."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self.database = database
        self.jobs = JobSink(wakeups)
        self.unique = UniqueSink(self.jobs.committed)
        self.chords = ChordSink()
        self.commits_are_quick = False

    def enqueue(self, rows: Sequence[NewJob | UniqueJob]) -> None:
        """Write jobs; raises DuplicateJob, TransactionError, or `psycopg.OperationalError` when nothing was written."""
        self._write([(self.unique if isinstance(row, UniqueJob) else self.jobs, row) for row in rows])

    def open_chord(self, row: Mapping[str, Any]) -> None:
        """Write the fan-in of a chord."""
        self._write([(self.chords, row)])

    def _write(self, entries: Sequence[tuple[Any, Any]]) -> None:
        if not entries:
            return
        tx = ambient(self.database)
        if tx is not None:
            for sink, row in entries:
                tx.add(sink, row)
        elif self.database.settings.require_transaction and running() is None:
            raise TransactionError("TRILHO_REQUIRE_TRANSACTION is set: enqueue inside app.transaction() or app.join()")
        elif len(entries) > 1 or not self._write_one(*entries[0]):
            write_now(self.database, entries)

    def _write_one(self, sink: Any, job: Any) -> bool:
        """Whether it was a plain job, and is durable by the cheaper statement; not if its id is taken."""
        if sink is not self.jobs or not job.is_plain:
            return False
        faults = self.database.faults
        faults.hit("enqueue.before_commit")
        begun, ahead = time.monotonic(), self.commits_are_quick and job.fresh
        if not self.database.run(self._insert, job, ahead):
            return False
        quick = self.commits_are_quick = time.monotonic() - begun < QUICK
        faults.hit("enqueue.after_commit")
        if ahead and quick:
            trace.had_effect()
        else:  # also if it went ahead by so much that a worker may have given up waiting for the row
            self.jobs.committed((job,))
        return True

    def _insert(self, connection: Connection, job: NewJob, ahead: bool) -> bool:
        def meanwhile() -> None:
            if ahead and job.send:
                self.jobs.wakeups.push((job,))
                self.database.faults.hit("enqueue.ahead_of_commit")

        return bool(ENQUEUE_ONE.fetch(connection, ENQUEUE_ONE.of(job), meanwhile))


class RowProducer:
    """Stands where a kombu Producer stands, and gathers rows until the outermost scope ends."""

    serializer = None

    def __init__(self) -> None:
        self.rows: list[NewJob | UniqueJob] = []
        self.connection = self

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        yield


@contextmanager
def producing(enqueuer: Enqueuer, given: Any) -> Iterator[Any]:
    """A producer for one call, or the given one; rows are written when the outermost scope ends well."""
    if given is not None:
        yield given
        return
    producer = RowProducer()
    yield producer
    enqueuer.enqueue(producer.rows)


@dataclass(frozen=True)
class Message:
    """The parts of a Celery message of protocol 2."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    embed: Mapping[str, Any]


@dataclass(frozen=True)
class Placement:
    """Where and when a message is to run, and what its task allows."""

    queue: str
    priority: int = 0
    run_at: datetime | None = None
    max_retries: int | None = None
    max_crashes: int | None = None
    max_payload: int = 1_000_000
    timezone: tzinfo = timezone.utc  # of times that come without one


def job_of(task: str, message: Message, place: Placement) -> NewJob:
    """The row of a message; raises TypeError or PayloadTooLarge for arguments that cannot be stored."""
    headers = message.headers
    args, kwargs = codec.dump_arguments(task, message.args, message.kwargs, place.max_payload)
    canvas = {name: message.embed[name] for name in _CANVAS if message.embed.get(name)}
    kept = {name: value for name, value in headers.items() if name not in _IN_COLUMNS and value is not None}
    if headers.get("timelimit") and any(headers["timelimit"]):
        kept["timelimit"] = headers["timelimit"]
    kept["properties"] = {name: value for name, value in message.properties.items() if value}
    around = trace.current()
    if (told := trace_header(around, headers.get("root_id"))) is not None:
        kept[TRACE] = told
    return NewJob(
        id=checked_id(headers["id"]),
        task=task,
        queue=place.queue,
        args=args,
        kwargs=kwargs,
        canvas=codec.dumps(canvas) if canvas else None,
        headers=codec.dumps(kept),
        priority=place.priority,
        send=place.run_at is None,
        run_at=place.run_at,
        expires_at=moment(headers.get("expires"), place.timezone),
        retries=headers.get("retries") or 0,
        max_retries=place.max_retries,
        max_crashes=place.max_crashes,
        root_id=headers.get("root_id"),
        parent_id=headers.get("parent_id"),
        group_id=headers.get("group"),
        operation=around.correlation_id,
        cause=around.causation_id,
        via=around.via,
    )


def trace_header(around: trace.Trace, root_id: str | None) -> dict[str, str | None] | None:
    """What a job has to carry of the operation around it; None where its root job tells it all."""
    if around.correlation_id in {None, root_id} and around.traceparent is None:
        return None
    return {"correlation_id": around.correlation_id, "traceparent": around.traceparent}


def moment(value: Any, zone: tzinfo) -> datetime | None:
    """The time that a header speaks of; one without a zone is in `zone`."""
    when: datetime | None = maybe_iso8601(value)
    return when if when is None or when.tzinfo is not None else when.replace(tzinfo=zone)


def checked_id(job_id: Any) -> str:
    """The id; raises ValueError for one that cannot be stored."""
    if not isinstance(job_id, str) or not 1 <= len(job_id) <= 255 or "\x00" in job_id:
        raise ValueError(f"task_id must be a text of 1 to 255 characters without NUL, not {job_id!r:.80}")
    return job_id


def held_jobs(job: NewJob, message: Message, queue_of: Callable[[Any], str]) -> list[NewJob]:
    """Rows for the ids that this message hands out before their turn: later links of a chain, a chord's body."""
    later = (*(message.embed.get("chain") or ()), *(message.embed.get("callbacks") or ()))
    rows = [held(step, queue_of) for data in later for step in steps_of(maybe_signature(data))]
    return [replace(row, root_id=job.root_id, parent_id=job.id, operation=job.operation, cause=job.id) for row in rows]


def held(step: Any, queue_of: Callable[[Any], str]) -> NewJob:
    """The row of a signature whose turn has not come."""
    job_id = checked_id(step.options["task_id"])
    return NewJob(id=job_id, task=step.task, queue=queue_of(step), held=True, send=False)


def steps_of(signature: Any) -> Iterator[Any]:
    """The single tasks of a signature whose ids a client may know, in order: of a chord those of its body."""
    if isinstance(signature, chord):
        yield from steps_of(signature.body)
    elif isinstance(signature, (group, _chain)):
        for task in signature.tasks:
            yield from steps_of(maybe_signature(task))
    elif signature is not None and signature.options.get("task_id"):
        yield signature
    for data in reversed((signature and signature.options.get("chain")) or ()):
        yield from steps_of(maybe_signature(data))


EMPTY_BODY = "[[], {}, {}]"
LONG_AGO = "1970-01-01T00:00:00+00:00"
"""When a wake-up expires: a plain Celery worker throws it away, where it would call the body without its arguments."""


def wakeup_headers(job: NewJob | DueJob) -> dict[str, Any]:
    """Celery headers of a wake-up: enough for events, rate limits and Flower; the truth is in the row."""
    kept = json.loads(job.headers)
    return {
        MARK: 1,
        ALONE: isinstance(job, DueJob) and job.alone,
        "lang": "py",
        "task": job.task,
        "id": job.id,
        "root_id": job.root_id,
        "parent_id": job.parent_id,
        "group": job.group_id,
        "retries": job.retries,
        "argsrepr": kept.get("argsrepr"),
        "kwargsrepr": kept.get("kwargsrepr"),
        "timelimit": kept.get("timelimit", [None, None]),
        "expires": LONG_AGO,
        "shadow": kept.get("shadow"),
        "stamped_headers": kept.get("stamped_headers"),
        "stamps": kept.get("stamps"),
    }
