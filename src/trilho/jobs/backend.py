"""Celery's result backend on the rows. What concerns the running job is gathered for the commit of its attempt."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import celery.exceptions
from celery import states
from celery.backends.base import BaseBackend
from celery.canvas import maybe_signature
from celery.result import result_from_tuple
from kombu.exceptions import EncodeError
from psycopg.rows import dict_row

from trilho.db.pool import Connection
from trilho.db.transaction import Tx
from trilho.errors import PayloadTooLarge
from trilho.jobs import codec, store
from trilho.jobs.attempt import RunningAttempt, running
from trilho.jobs.enqueue import steps_of
from trilho.jobs.job import FINISHED, RETRY, STARTED
from trilho.jobs.outcome import Finish, retried
from trilho.jobs.store import META_ONE, SQL, ChordPart, OtherResult


class PostgresBackend(BaseBackend):  # type: ignore[misc]
    """Reads results from the rows; writes go through the running attempt and its fence."""

    supports_autoexpire = True
    supports_native_join = True
    persistent = True

    def as_uri(self, include_password: bool = False) -> str:
        """What reports show."""
        return "trilho://postgresql"

    # ---- the end of the running attempt

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """The body came back; with `transactional=True` its transaction and this are one commit."""
        attempt = _attempt_of(task_id)
        if attempt is None:
            super().mark_as_done(task_id, result, request, store_result, state)
            return
        kept = result if store_result else None
        attempt.outcome = Finish(
            task_id,
            attempt.token,
            state,
            result=self._text(task_id, kept, state),
            children=self._children(request),
            progress=attempt.progress.end(task_id) if attempt.progress is not None else None,
        )
        if attempt.next_run is not None:  # `self.retry(throw=False)`: the effects are kept, and the job runs again
            attempt.outcome = retried(attempt.token, attempt.next_run, None)
        if request and request.chord:
            self.on_chord_part_return(request, state, result)
        if attempt.tx is not None:
            _commit(attempt, attempt.tx)

    def mark_as_failure(self, task_id: str, exc: BaseException, traceback: Any = None, **kwargs: Any) -> None:
        """The body failed for good: the row ends, with what hangs on it (errbacks, chain, chord)."""
        attempt = _attempt_of(task_id)
        if attempt is None:
            super().mark_as_failure(task_id, exc, traceback, **kwargs)
            return
        attempt.forget_what_follows()  # of a success that could not be stored or committed
        state = kwargs.get("state", states.FAILURE)
        attempt.outcome = Finish(task_id, attempt.token, state, error=error_text(exc))  # the arguments alone say less
        self._end(attempt, task_id, self.encode_result(exc, state), state, traceback)
        with attempt.dispatch():
            super().mark_as_failure(task_id, exc, traceback, **kwargs)

    def mark_as_retry(self, task_id: str, exc: BaseException, traceback: Any = None, **kwargs: Any) -> None:
        """The body asked for another attempt because of `exc`, whose text says more than its arguments."""
        attempt = _attempt_of(task_id)
        if attempt is not None:
            attempt.outcome = Finish(task_id, attempt.token, RETRY, error=error_text(exc))
        super().mark_as_retry(task_id, exc, traceback, **kwargs)

    def _fail_chain(self, chain: Any, *args: Any, **kwargs: Any) -> None:
        """Every single task behind a step that did not succeed, also those of its groups and chords."""
        steps = [step for data in chain or () for step in steps_of(maybe_signature(data, app=self.app))]
        super()._fail_chain(steps, *args, **kwargs)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> None:
        attempt = _attempt_of(task_id)
        if attempt is not None:
            self._end(attempt, task_id, result, state, traceback)
        elif state in FINISHED:
            self._store_other(task_id, result, state, traceback, request)

    def _end(self, attempt: RunningAttempt, task_id: str, result: Any, state: str, traceback: Any) -> None:
        if state in FINISHED or state == RETRY:
            known = attempt.outcome
            told = known.error if isinstance(known, Finish) and known.state == state else None
            attempt.outcome = Finish(
                task_id,
                attempt.token,
                state,
                result=self._text(task_id, result, state),
                error=told or error_text(result),
                traceback=None if traceback is None else str(traceback),
            )
        elif state != STARTED:
            self.app.report_progress(result, state)

    def _store_other(self, task_id: str, result: Any, state: str, traceback: Any, request: Any) -> None:
        other = OtherResult(
            task_id,
            state,
            self._text(task_id, result, state),
            error_text(result),
            None if traceback is None else str(traceback),
            task=getattr(request, "task", None),
        )
        attempt = running()
        if attempt is not None:
            attempt.others.append(other)
        else:
            self.app.database.run(store.store_others, [other])

    def _text(self, task_id: str, result: Any, state: str) -> str:
        encoded = self.encode_result(result, state)
        try:
            text = codec.stored(encoded)
            if state in states.EXCEPTION_STATES and isinstance(encoded, dict) and len(text) > codec.MAX_ERROR:
                text = codec.dumps(encoded | {"exc_message": [codec.shortened(str(encoded.get("exc_message")))]})
            codec.ensure_fits(f"the result of job {task_id}", len(text), self.app.settings.max_payload)
        except (TypeError, ValueError, RecursionError) as error:
            reason = (
                str(error) if isinstance(error, PayloadTooLarge) else f"the result cannot be stored as JSON: {error}"
            )
            raise EncodeError(reason) from error
        return text

    def _children(self, request: Any) -> str | None:
        children = self.current_task_children(request) if getattr(request, "children", None) else None
        return codec.dumps(children) if children else None

    # ---- reading

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        rows = self.app.database.run(_metas, [task_id])
        return self._meta(rows[0]) if rows else {"status": states.PENDING, "result": None}

    def _meta(self, row: dict[str, Any]) -> dict[str, Any]:
        finished = row["state"] in FINISHED or row["state"] == RETRY
        result = codec.loads(row["result"] if finished else row["progress"])
        if row["state"] in states.EXCEPTION_STATES and result is None:
            result = exception_of(row["error"], row["state"])
        meta = {
            "status": row["state"],
            "result": result,
            "traceback": row["traceback"],
            "children": codec.loads(row["children"]) or [],
            "task_id": row["id"],
            "name": row["task"],
            "queue": row["queue"],
            "args": codec.loads(row["args"]),
            "kwargs": codec.loads(row["kwargs"]),
            "retries": row["retries"],
            "worker": row["worker_name"],
            "date_done": row["finished_at"] and row["finished_at"].isoformat(),
            "parent_id": row["parent_id"],
            "group_id": row["group_id"],
        }
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the job has a row."""
        return bool(self.app.database.run(_found, task_id))

    def wait_for(self, task_id: str, timeout: float | None = None, **_: Any) -> dict[str, Any]:
        """The end of one job; raises UnknownJob, or Celery's TimeoutError after `timeout` seconds."""
        try:
            self.app.waiter.wait([task_id], timeout)
        except TimeoutError as error:
            raise celery.exceptions.TimeoutError(str(error)) from None
        meta: dict[str, Any] = self.get_task_meta(task_id)
        return meta

    def get_many(
        self, task_ids: Sequence[str], timeout: float | None = None, on_message: Any = None, **_: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each job as it ends."""
        left = {task_id if isinstance(task_id, str) else task_id.id for task_id in task_ids}
        deadline = None if timeout is None else time.monotonic() + timeout
        while left:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                finished = self.app.waiter.wait(sorted(left), remaining)
            except TimeoutError as error:
                raise celery.exceptions.TimeoutError(str(error)) from None
            for row in self.app.database.run(_metas, sorted(finished)):
                meta = self._meta(row)
                if on_message is not None:
                    on_message(meta)
                yield row["id"], meta
            left -= finished

    def _forget(self, task_id: str) -> None:
        self.app.database.run(store.changed, "forget", id=task_id)

    # ---- canvas

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.app.database.run(store.changed, "save_group", id=group_id, result=codec.dumps(result.as_tuple()))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        text = self.app.database.run(_group, group_id)
        return None if text is None else {"result": result_from_tuple(codec.loads(text), self.app)}

    def _delete_group(self, group_id: str) -> None:
        self.app.database.run(store.changed, "delete_group", id=group_id)

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Remember the body of a chord before its members can run."""
        body_id = next((step.options["task_id"] for step in steps_of(body)), None)
        self.app.enqueuer.open_chord({"id": header_result_args[0], "body": codec.dumps(dict(body)), "body_id": body_id})
        self.app.hold(body)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Remember how many members have to come back."""
        self.app.enqueuer.open_chord({"id": group_id, "size": chord_size})

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """A running member adds another one."""
        attempt = running()
        if attempt is None:
            raise NotImplementedError("a chord grows from within one of its members")
        attempt.grown.append(chord_id)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """A member came back; counted in the commit of its finish."""
        attempt = running()
        if attempt is not None and request.group:
            attempt.parts.append(
                ChordPart(request.group, request.id, request.group_index, state, self._text(request.id, result, state))
            )


def _attempt_of(task_id: str) -> RunningAttempt | None:
    attempt = running()
    return attempt if attempt is not None and attempt.job.id == task_id else None


def _commit(attempt: RunningAttempt, tx: Tx) -> None:
    """The body's transaction and the finish; whatever goes wrong is the runner's to decide, not a result to store."""
    try:
        tx.commit()
    except BaseException as error:
        attempt.commit_error = error
        raise celery.exceptions.Reject(f"the commit failed: {error!r}", requeue=False) from error
    attempt.committed = True


def error_text(result: Any) -> str | None:
    """One readable line about a stored exception."""
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    if isinstance(result, dict) and "exc_type" in result:
        message = result.get("exc_message")
        words = message if isinstance(message, (list, tuple)) else [message]
        return f"{result['exc_type']}: {', '.join(str(word) for word in words)}".rstrip(": ")
    return None


def exception_of(error: str | None, state: str) -> dict[str, Any]:
    """The stored form of an end that no body raised: a crash, a cancel, an expiry."""
    kind = "TaskRevokedError" if state == states.REVOKED else "WorkerLostError"
    module = "celery.exceptions" if state == states.REVOKED else "billiard.exceptions"
    return {"exc_type": kind, "exc_message": [error or state], "exc_module": module}


def _metas(connection: Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    if len(ids) == 1:
        return [dict(zip(_META, row, strict=True)) for row in META_ONE.fetch(connection, {"id": ids[0]})]
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["meta"], {"ids": list(ids)}).fetchall()


_META = (
    "id", "state", "result", "progress", "error", "traceback", "children", "task", "queue", "args", "kwargs", "retries",
    "worker_name", "finished_at", "parent_id", "group_id",
)  # fmt: skip
"""The columns of `meta_one`."""


def _found(connection: Connection, task_id: str) -> bool:
    return connection.execute(SQL["exists"], {"id": task_id}).fetchone() is not None


def _group(connection: Connection, group_id: str) -> str | None:
    row = connection.execute(SQL["restore_group"], {"id": group_id}).fetchone()
    return row[0] if row else None
