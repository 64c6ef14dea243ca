"""Adoption: a message with a full Celery body comes from a plain producer; a row is made of it."""

from collections.abc import Mapping
from datetime import timezone
from typing import Any

from celery.worker.strategy import proto1_to_proto2

from trilho.jobs.enqueue import MARK, Message, Placement, job_of, moment
from trilho.jobs.job import NewJob

NO_LIMIT = 2**62  # the content is in our hands already: refusing it would lose it


def is_wakeup(message: Any) -> bool:
    """Whether the message only speaks of a row."""
    return bool((message.headers or {}).get(MARK))


def adopted(message: Any, tasks: Mapping[str, Any], default_queue: str) -> NewJob:
    """The row of a plain message; raises KeyError or TypeError for one that is no task message."""
    headers, (args, kwargs, embed) = _parts(message)
    properties = message.properties or {}
    task = tasks.get(headers["task"])
    place = Placement(
        queue=(message.delivery_info or {}).get("routing_key") or default_queue,
        priority=properties.get("priority") or 0,
        run_at=moment(headers.get("eta"), timezone.utc),
        max_retries=getattr(task, "max_retries", None),
        max_crashes=getattr(task, "max_crashes", None),
        max_payload=NO_LIMIT,
    )
    known = {name: properties[name] for name in ("correlation_id", "reply_to") if properties.get(name)}
    return job_of(headers["task"], Message(headers, known, args, kwargs, embed or {}), place)


def _parts(message: Any) -> tuple[dict[str, Any], Any]:
    if "task" in (message.headers or {}):
        return dict(message.headers), message.payload
    body, headers, _, _ = proto1_to_proto2(message, message.decode())
    return {name: value for name, value in headers.items() if name not in ("args", "kwargs", "headers")}, body
