"""Celery's request of an attempt, made from the row."""

from typing import Any

from celery.app.task import Context

from trilho.jobs import codec
from trilho.jobs.enqueue import TRACE
from trilho.jobs.job import Claimed
from trilho.trace import Trace

_CELERYS_OWN = frozenset(vars(Context)) | {"lang", "task", "argsrepr", "kwargsrepr", "compression"}
"""What is no header of the caller's, in the eyes of Celery's tracer."""


def request_of(job: Claimed, hostname: str) -> dict[str, Any]:
    """The request as a dictionary; the tracer makes its Context from it."""
    request: dict[str, Any] = codec.loads(job.headers)
    properties = request.get("properties") or {}
    request |= {
        "lang": "py",
        "id": job.id,
        "task": job.task,
        "args": codec.loads(job.args),
        "kwargs": codec.loads(job.kwargs),
        "retries": job.retries,
        "attempt": job.attempt,
        "root_id": job.root_id,
        "parent_id": job.parent_id,
        "group": job.group_id,
        "expires": job.expires_at and job.expires_at.isoformat(),
        "hostname": hostname,
        "is_eager": False,
        "correlation_id": properties.get("correlation_id", job.id),
        "reply_to": properties.get("reply_to"),
        "delivery_info": {
            "exchange": "",
            "routing_key": job.queue,
            "priority": job.priority,
            "redelivered": job.attempt > 1,
        },
    }
    request.setdefault("timelimit", [None, None])
    request |= codec.loads(job.canvas) or {}
    if request.get("headers") is None:  # or Celery gathers them itself, in a way that costs as much as the rest of it
        request["headers"] = {name: value for name, value in request.items() if name not in _CELERYS_OWN}
    return request


def trace_of(job: Claimed, request: dict[str, Any]) -> Trace:
    """What the job's own jobs and events belong to; a job that nobody's operation brought about begins one."""
    known = request.get(TRACE)
    known = known if isinstance(known, dict) else {}
    return Trace(known.get("correlation_id") or job.root_id or job.id, job.id, known.get("traceparent"))
