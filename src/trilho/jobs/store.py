"""The verbs on the job tables. Each takes a connection and a list, and is one statement of `jobs.sql`."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import args_row, class_row, dict_row
from pydantic_core import to_json

from trilho.db.pool import Connection
from trilho.db.prepared import Prepared
from trilho.db.sql import beside
from trilho.db.text import escaped
from trilho.jobs.codec import shortened
from trilho.jobs.job import SUCCESS, Attempt, Claimed, Job, JobFilter, JobPage
from trilho.jobs.outcome import Finish, Outcome, Reschedule

SQL = beside(__file__, "jobs.sql")

ENQUEUE_ONE, CLAIM_ONE, FINISH_ONE, AWAIT_ONE, META_ONE = (
    Prepared(f"trilho_{name}", SQL[name])
    for name in ("enqueue_one", "claim_one", "finish_one", "await_one", "meta_one")
)


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: the token of the claim, the incarnation and the name of the worker."""

    token: UUID
    worker: UUID
    name: str


@dataclass(frozen=True, slots=True)
class OtherResult:
    """The end of a job that is not the running one."""

    id: str
    state: str
    result: str | None
    error: str | None
    traceback: str | None
    task: str | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class ChordPart:
    """A member of a chord came to its end."""

    chord: str
    job: str
    position: int | None
    state: str
    result: str | None


def rows_json(rows: Sequence[Any]) -> str:
    """A list of dataclasses as the one JSON parameter that a list verb takes; what is None is left out."""
    return to_json(rows, exclude_none=True).decode()


def claim(connection: Connection, ids: Sequence[str], claimant: Claimant, alone: bool | None = None) -> list[Claimed]:
    """PENDING | RETRY -> STARTED, for those of `ids` that are due, and may be claimed together with others.

    `alone` says whether no other job runs under this claim; by default, if it is for one.
    """
    values = {"token": claimant.token, "worker": claimant.worker, "worker_name": claimant.name}
    if len(ids) == 1 and alone is not False:
        return [Claimed(*row) for row in CLAIM_ONE.fetch(connection, values | {"id": ids[0]})]
    with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        return cursor.execute(SQL["claim"], values | {"ids": rows_json(ids)}).fetchall()


def unknown(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those that have no row."""
    return set(ids).difference(row[0] for row in connection.execute(SQL["states"], {"ids": list(ids)}))


def unclaim(connection: Connection, ids: Sequence[str], token: UUID) -> set[str]:
    """STARTED -> PENDING, for jobs of a claim that never began; returns those that wait again."""
    return {row[0] for row in connection.execute(SQL["unclaim"], {"ids": rows_json(ids), "token": token})}


def seize(connection: Connection, job_id: str, token: UUID) -> Claimed | None:
    """PENDING | RETRY -> STARTED, for whoever ends a waiting job in this transaction."""
    with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        return cursor.execute(SQL["seize"], {"id": job_id, "token": token}).fetchone()


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> set[str]:
    """Write outcomes, fenced by their tokens; returns the ids of those that counted."""
    if len(outcomes) == 1 and isinstance(outcomes[0], Finish) and outcomes[0].state == SUCCESS:
        return {row[0] for row in FINISH_ONE.fetch(connection, FINISH_ONE.of(outcomes[0]))}
    ended = sorted((o for o in outcomes if isinstance(o, Finish)), key=lambda o: o.id)
    again = sorted((o for o in outcomes if isinstance(o, Reschedule)), key=lambda o: o.id)
    rows: list[tuple[Any, ...]] = []
    if ended:
        text = rows_json([storable(outcome) for outcome in ended])
        rows += connection.execute(SQL["finish"], {"rows": text}).fetchall()
    if again:
        text = rows_json([_reschedule_row(storable(outcome)) for outcome in again])
        rows += connection.execute(SQL["reschedule"], {"rows": text}).fetchall()
    return {row[0] for row in rows}


def seize_expired(connection: Connection, token: UUID, limit: int) -> list[Claimed]:
    """PENDING | RETRY -> STARTED, for whoever ends those of them that have expired in this transaction."""
    with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        return cursor.execute(SQL["seize_expired"], {"token": token, "limit": limit}).fetchall()


Ended = TypeVar("Ended", Finish, Reschedule, OtherResult)


def storable(outcome: Ended) -> Ended:
    """The outcome, whatever text an exception brought: PostgreSQL keeps no NUL and no half of a surrogate pair."""
    if outcome.error is None and outcome.traceback is None:
        return outcome
    return replace(outcome, error=_clean(outcome.error), traceback=_clean(outcome.traceback))


def _clean(text: str | None) -> str | None:
    if text is None:
        return None
    return escaped(shortened(text))


_REPLACED = ("task", "queue", "priority", "args", "kwargs", "canvas", "headers", "retries", "expires_at")


def _reschedule_row(outcome: Reschedule) -> dict[str, Any]:
    row = {name: getattr(outcome, name) for name in Reschedule.__slots__ if name != "job"}
    row["replace"] = outcome.job is not None
    row["held"] = outcome.job is not None and outcome.job.held
    if outcome.job is not None:
        row |= {name: getattr(outcome.job, name) for name in _REPLACED}
    return row


def already_settled(connection: Connection, outcomes: Sequence[Outcome]) -> set[str]:
    """Those of the outcomes that are in the rows: the answer to an earlier try got lost."""
    rows = [{"id": o.id, "token": o.token, "state": o.state} for o in outcomes]
    return {row[0] for row in connection.execute(SQL["settled"], {"rows": rows_json(rows)})}


def store_others(connection: Connection, results: Sequence[OtherResult]) -> None:
    """End waiting jobs that are not running."""
    last = {result.id: result for result in results}
    text = rows_json([storable(last[key]) for key in sorted(last)])
    connection.execute(SQL["store_other"], {"rows": text})


def lock_running(connection: Connection, workers: Sequence[UUID], limit: int) -> list[Claimed]:
    """The running jobs of these processes, locked."""
    with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        return cursor.execute(SQL["lock_running"], {"workers": list(workers), "limit": limit}).fetchall()


def lock_claimed(connection: Connection, ids: Sequence[str], token: UUID) -> list[Claimed]:
    """The jobs that this claim still holds, locked."""
    with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        return cursor.execute(SQL["lock_claimed"], {"ids": list(ids), "token": token}).fetchall()


def end_backends(connection: Connection, tokens: Sequence[UUID]) -> None:
    """End what is left of the transactions that ran under these claims."""
    connection.execute(SQL["end_backends"], {"names": [transaction_name(token) for token in tokens]})


def transaction_name(token: UUID) -> str:
    """The `application_name` of every transaction that runs under a claim."""
    return f"trilho:{token}"


def return_part(connection: Connection, part: ChordPart) -> tuple[bool, str | None]:
    """Count a member of a chord; tells whether it was the last, and the body."""
    row = connection.execute(SQL["return_part"], asdict(part)).fetchone()
    assert row is not None
    return bool(row[0]), row[1]


def chord_parts(connection: Connection, chord: str) -> list[tuple[str, str | None]]:
    """State and result of each member, in order."""
    return connection.execute(SQL["chord_parts"], {"chord": chord}).fetchall()


def view(connection: Connection, job_id: str) -> Job | None:
    """One job as people see it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["view"], {"id": job_id}).fetchone()
    return None if row is None else Job.from_row(row)


def page(connection: Connection, wanted: JobFilter) -> JobPage:
    """One page of jobs, newest first."""
    values = asdict(wanted) | {"limit": wanted.limit + 1}
    with connection.cursor(row_factory=dict_row) as cursor:
        jobs = [Job.from_row(row) for row in cursor.execute(SQL["list"], values)]
    more = len(jobs) > wanted.limit
    items = jobs[: wanted.limit]
    return JobPage(items, items[-1].id if more else None)


def attempts(connection: Connection, job_id: str) -> list[Attempt]:
    """What became of each attempt that was not a plain success."""
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        return cursor.execute(SQL["attempts"], {"id": job_id}).fetchall()


def run_again(connection: Connection, job_id: str) -> tuple[bool, str | None]:
    """FAILURE | REVOKED -> PENDING; whether it was one of them, and what hangs on the job."""
    row = connection.execute(SQL["run_again"], {"id": job_id}).fetchone()
    return row is not None, row[1] if row is not None else None


def changed(connection: Connection, query: str, /, **values: Any) -> bool:
    """Run one statement of `jobs.sql`; whether it hit a row."""
    return connection.execute(SQL[query], values).rowcount > 0
