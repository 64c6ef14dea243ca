"""Celery's request of an attempt, made from the row."""

from typing import Any

from trilho.jobs import codec
from trilho.jobs.job import Claimed


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
    return request | (codec.loads(job.canvas) or {})
