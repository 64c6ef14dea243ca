"""Rows of jobs, made and moved by the verbs of the store alone."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from tests.lab.database import Connection
from trilho.jobs import store
from trilho.jobs.enqueue import merged
from trilho.jobs.job import Claimed, Job, NewJob
from trilho.jobs.outcome import Finish, Outcome, Reschedule, released
from trilho.jobs.store import SQL, Claimant, rows_json

TASK = "work"


HEADERS = '{"properties": {}}'
"""Whatever had its turn has these; a held row does not."""


def new(job_id: str = "one", **fields: Any) -> NewJob:
    return NewJob(**{"id": job_id, "task": TASK, "queue": "celery", "headers": HEADERS, **fields})


def enqueue(connection: Connection, *jobs: NewJob) -> set[str]:
    """The ids that were written or were there with the same content."""
    statement = SQL["enqueue"].encode()
    return {row[0] for row in connection.execute(statement, {"rows": rows_json(merged(jobs or [new()]))})}


def claimant(worker: UUID | None = None) -> Claimant:
    return Claimant(uuid4(), worker or uuid4(), "w@host")


def claim(connection: Connection, *ids: str, by: Claimant | None = None) -> list[Claimed]:
    return store.claim(connection, list(ids or ("one",)), by or claimant())


def claimed(connection: Connection, job_id: str = "one", by: Claimant | None = None, **fields: Any) -> Claimed:
    """A new job, claimed at once."""
    enqueue(connection, new(job_id, **fields))
    [job] = claim(connection, job_id, by=by)
    return job


def success(job: Claimed, result: str = "1") -> Finish:
    return Finish(job.id, job.claim_token, "SUCCESS", result=result)


def failure(job: Claimed) -> Finish:
    return Finish(job.id, job.claim_token, "FAILURE", error="E: x", traceback="t", result="{}")


def retry(claim: Claimed, **fields: Any) -> Reschedule:
    return Reschedule(claim.id, claim.claim_token, "RETRY", **{"state": "RETRY", "error": "E: x", **fields})


def release(job: Claimed) -> Reschedule:
    return released(job.id, job.claim_token, "given back")


def settle(connection: Connection, *outcomes: Outcome) -> set[str]:
    with connection.transaction():
        return store.settle(connection, outcomes)


def view(connection: Connection, job_id: str = "one") -> Job:
    job = store.view(connection, job_id)
    assert job is not None
    return job


def column(connection: Connection, name: str, job_id: str = "one") -> Any:
    row = connection.execute(f"SELECT {name} FROM trilho.jobs WHERE id = %s".encode(), (job_id,)).fetchone()
    assert row is not None
    return row[0]


def whole(connection: Connection, job_id: str = "one") -> tuple[Any, ...] | None:
    return connection.execute("SELECT * FROM trilho.jobs WHERE id = %s", (job_id,)).fetchone()


def with_token(outcome: Finish, token: UUID) -> Finish:
    return replace(outcome, token=token)
