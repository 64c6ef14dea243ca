"""Remote control commands that must reach the rows: Celery's own would write results, or remember things in memory."""

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.utils.functional import maybe_list
from celery.worker import control
from celery.worker import state as worker_state
from celery.worker.consumer.control import Control

from trilho.db.pool import Connection
from trilho.jobs import store
from trilho.jobs.aftermath import cancel_waiting
from trilho.jobs.control import WRITTEN

if TYPE_CHECKING:
    from trilho.app import Trilho
    from trilho.worker.consumer import JobConsumer

Reply = Mapping[str, Any]
Command = Callable[..., Any]


def revoke(state: Any, task_id: Any = None, terminate: bool = False, signal: Any = None, **options: Any) -> Reply:
    """Revoke waiting jobs; with `terminate`, end running ones too, whichever signal is asked for."""
    ids = [str(each) for each in maybe_list(task_id) or ()]
    worker_state.revoked.update(ids)
    if not options.get(WRITTEN):  # from a client that is not Trilho's
        state.consumer.clerk.submit(_cancel, state.app, ids, terminate)
    for request in _waiting(ids):
        state.consumer.clerk.submit(state.consumer.batcher.tell_if_revoked, request)
    return {"ok": f"tasks {', '.join(ids)} {'terminated' if terminate else 'flagged as revoked'}"}


def terminate(state: Any, signal: Any = None, task_id: Any = None, **options: Any) -> Reply:
    """Revoke jobs that wait or run."""
    return revoke(state, task_id, terminate=True, **options)


def revoke_by_stamped_headers(state: Any, headers: Any = None, terminate: bool = False, **_: Any) -> Reply:
    """Revoke the jobs with one of these stamps that this worker has at hand; others would have to be searched for."""
    wanted = _stamps(headers)
    ids = [job_id for job_id, request in list(worker_state.requests.items()) if _is_stamped(request, wanted)]
    revoke(state, ids, terminate=terminate)
    return {"ok": f"revoked {len(ids)} jobs at hand; jobs that wait in PostgreSQL were not looked through"}


def pool_shrink(state: Any, n: int = 1, **_: Any) -> Reply:
    """Shrink the pool, but to one process at least: with none, the worker would take jobs and begin none."""
    if n >= state.consumer.pool.num_processes:
        return {"error": "a pool keeps one process; `control shutdown` ends the worker"}
    reply: Reply = control.pool_shrink(state, n)
    return reply


def shutdown(state: Any, msg: str = "Got shutdown from remote", **_: Any) -> None:
    """Stop as on SIGTERM, in bounded time; Celery's own would wait for the bodies for ever."""
    state.consumer._on_shutting_down(how="warm")
    control.shutdown(state, msg)


COMMANDS: Mapping[str, Command] = {
    command.__name__: command for command in (revoke, terminate, revoke_by_stamped_headers, pool_shrink, shutdown)
}


def install(consumer: "JobConsumer") -> None:
    """Put these before Celery's, in this worker only."""
    for box in _boxes(consumer):
        box.node.handlers = ChainMap(dict(COMMANDS), control.Panel.data)


def _boxes(consumer: "JobConsumer") -> Iterator[Any]:
    return (step.box for step in consumer.steps if isinstance(step, Control))


def _waiting(ids: Sequence[str]) -> list[Any]:
    """Those that this worker has at hand and has not begun."""
    known = [worker_state.requests.get(job_id) for job_id in ids]
    return [request for request in known if request is not None and request not in worker_state.active_requests]


def _cancel(connection: Connection, app: "Trilho", ids: Sequence[str], running_too: bool) -> None:
    for job_id in ids:
        if not cancel_waiting(app, connection, job_id) and running_too:
            store.changed(connection, "cancel_running", id=job_id)


def _stamps(headers: Any) -> dict[str, set[Any]]:
    pairs = headers.items() if isinstance(headers, Mapping) else (each.split("=", 1) for each in headers or ())
    return {name: set(maybe_list(values)) for name, values in pairs}


def _is_stamped(request: Any, wanted: Mapping[str, set[Any]]) -> bool:
    return any(wanted[name] & set(maybe_list(value) or ()) for name, value in request.stamps.items() if name in wanted)
