"""The bodies of steps and undos: a task becomes a job, a function runs right here, in one commit with its record."""

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import uuid_utils

from trilho import trace
from trilho.db.pool import Connection
from trilho.db.transaction import Tx, installed
from trilho.db.transient import is_transient
from trilho.errors import PayloadTooLarge, PermanentError, SagaTimeout
from trilho.events.retry import Retry
from trilho.jobs import codec
from trilho.jobs.enqueue import RowProducer
from trilho.jobs.job import NewJob
from trilho.jobs.store import transaction_name
from trilho.sagas import failure, replay
from trilho.sagas.failure import may_be_repeated, rebuilt
from trilho.sagas.journal import Abandoned, Journal
from trilho.sagas.record import DONE, FAILED, OPEN, RETRY, Entry
from trilho.sagas.shape import Shape
from trilho.sagas.store import MARK

if TYPE_CHECKING:
    from trilho.app import Trilho

KEY = "idempotency_key"
LEFT = "CancelledError left {}: something that it awaited was cancelled"
STEP_KEY: ContextVar[str | None] = ContextVar("trilho_step_key", default=None)


@dataclass(frozen=True)
class Body:
    """What one attempt of a step or undo runs."""

    shape: Shape
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    retry: Retry
    timeout: float | None = None

    @property
    def is_atomic(self) -> bool:
        """Whether nothing is left of an attempt that fails; a function that takes no `tx` reaches elsewhere."""
        task = self.shape.task
        return "tx" in self.shape.given if task is None else bool(task.transactional)

    def pause(self, entry: Entry) -> float | None:
        """Seconds until the next attempt; None for no other."""
        if not may_be_repeated(entry):
            return None
        return pause_after(self.retry, entry.attempt, rebuilt(entry))


def pause_after(retry: Retry, attempt: int, error: BaseException) -> float | None:
    """Seconds until the next attempt; None for no other."""
    return None if isinstance(error, PermanentError) else retry.pause(attempt, error)


def key_of(saga_id: str, path: str) -> str:
    """The idempotency key of a step: the same at every attempt, and for its undo."""
    return f"{saga_id}/{path.partition(':')[0]}"


# ---- tasks


def job_of(app: "Trilho", body: Body, saga_id: str, path: str) -> NewJob:
    """One attempt of a task; raises TypeError, PayloadTooLarge for arguments that cannot be stored."""
    assert body.shape.task is not None
    producer = RowProducer()
    body.shape.task.apply_async(
        tuple(body.args),
        dict(body.kwargs),
        task_id=str(uuid_utils.uuid7()),
        headers={MARK: saga_id, KEY: key_of(saga_id, path)},
        producer=producer,
        unique=False,
        add_to_parent=False,
    )
    [job] = producer.rows
    assert isinstance(job, NewJob)
    return job


def begin_task(journal: Journal, entry: Entry, body: Body) -> Entry:
    """Record the attempt and its job; both are written with the next commit. The error of the last one stays to see."""
    assert body.shape.task is not None
    job = job_of(journal.app, body, journal.run.id, entry.path)
    limit = None if body.timeout is None else journal.now() + timedelta(seconds=body.timeout)
    begun = replace(entry, state=OPEN, job_id=job.id, due_at=limit, failure=None)
    journal.put(begun)
    journal.jobs.append(job)
    return begun


# ---- functions


def make_ready(journal: Journal, entry: Entry) -> None:
    """Make durable what the body depends on, and once for all its attempts that it may leave something behind.

    Raises Abandoned, SagaLimit.
    """
    if not replay.must_tell(journal.entries.get(entry.path), entry):
        journal.settle()
        return
    faults = journal.app.database.faults
    journal.put(replace(entry, state=OPEN, due_at=None, error=None, failure=None))
    faults.hit("saga.open_before_commit")
    journal.flush()
    faults.hit("saga.open_after_commit")


async def run_here(journal: Journal, entry: Entry, body: Body) -> Entry:
    """One attempt of a function; the entry as it is recorded, whatever became of it. Raises Abandoned."""
    tx = journal.unused_tx or Tx(journal.app.database, application_name=transaction_name(journal.claim.token))
    journal.unused_tx = None
    try:
        return await _attempt(journal, entry, body, tx)
    except Exception as error:
        if is_transient(error, tx.was_harmed()):
            raise Abandoned(f"nobody's attempt: {error!r}") from error
        return _failed(journal, entry, body, error)
    finally:
        if tx.untouched and "tx" not in body.shape.given:  # nobody has it: the next body may
            journal.unused_tx = tx
        else:
            tx.close()


async def _attempt(journal: Journal, entry: Entry, body: Body, tx: Tx) -> Entry:
    faults, run = journal.app.database.faults, journal.run
    faults.hit("saga.step_before")
    key = key_of(run.id, entry.path)
    with installed(tx), trace.entered(journal.trace):
        value = await _called(journal, body, body.shape.filled(tx, key), key)
        tx.flush()
    text, value = _stored(journal, body.shape, value)
    done = replace(entry, state=DONE, result=text, due_at=None, error=None, failure=None)
    journal.put(done)
    journal.values[done.path] = value
    if not tx.untouched:
        _commit(journal, tx)
    elif not body.is_atomic:  # else it has left nothing, and is recorded before the next body begins
        journal.flush()
    return done


def _commit(journal: Journal, tx: Tx) -> None:
    """The step's effects and its record."""
    faults = journal.app.database.faults

    def last(connection: Connection) -> None:
        journal.write(connection)
        faults.hit("saga.step_before_commit")

    tx.pending.last = last
    try:
        tx.commit()
    except psycopg.OperationalError as error:
        raise Abandoned(f"nobody's attempt: {error}") from error
    faults.hit("saga.step_after_commit")
    journal.written()


async def _called(journal: Journal, body: Body, given: Mapping[str, Any], key: str) -> Any:
    journal.in_body = key
    token = STEP_KEY.set(key)
    try:
        result = body.shape.function(*body.args, **body.kwargs, **given)
        if not inspect.isawaitable(result):
            return result
        return await _in_time(body, result)
    except asyncio.CancelledError as error:
        if is_ending(error):
            raise
        raise RuntimeError(LEFT.format(f"step {body.shape.name}")) from error
    finally:
        STEP_KEY.reset(token)
        journal.in_body = None


async def _in_time(body: Body, result: Awaitable[Any]) -> Any:
    if body.timeout is None:
        return await result
    try:
        async with asyncio.timeout(body.timeout) as limit:
            return await result
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SagaTimeout(f"step {body.shape.name} took longer than {body.timeout:g} s") from error


def is_ending(error: asyncio.CancelledError) -> bool:
    """Whether the stretch is being ended; else the user's code has cancelled what it awaited, which is its failure."""
    task = asyncio.current_task()
    return isinstance(error, Exception) or task is None or bool(task.cancelling())


def _stored(journal: Journal, shape: Shape, value: Any) -> tuple[str, Any]:
    """A result as it is recorded, and as the record gives it back."""
    try:
        text = codec.stored(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(f"step {shape.name} returned what cannot be stored as JSON: {error}") from error
    try:
        codec.ensure_fits(f"the result of step {shape.name}", len(text), journal.app.settings.max_payload)
        return text, shape.result(text)
    except (PayloadTooLarge, TypeError) as error:
        raise PermanentError(str(error)) from error


def _failed(journal: Journal, entry: Entry, body: Body, error: Exception) -> Entry:
    told = failure.recorded(error)
    pause = pause_after(body.retry, entry.attempt, error)
    failed = replace(
        entry,
        state=FAILED if pause is None else RETRY,
        error=told.error,
        failure=failure.dumped(told),
        timed_out=isinstance(error, SagaTimeout),
        due_at=None if pause is None else journal.now() + timedelta(seconds=pause),
    )
    journal.put(failed)
    return failed
