"""Adoption: a message with a full Celery body comes from a plain producer; a row is made of it."""

from typing import Any

from celery.utils.time import maybe_iso8601

from trilho.jobs.enqueue import Message, Placement, job_of
from trilho.jobs.job import NewJob

_OF_THE_REQUEST = frozenset({"properties", "hostname", "delivery_info", "reply_to", "correlation_id", "args", "kwargs"})
NO_LIMIT = 2**62  # the content is in our hands already: refusing it would lose it


def adopted(request: Any, default_queue: str) -> NewJob:
    """The row of a request for a task that is known here."""
    headers = dict(request.request_dict)
    place = Placement(
        queue=request.delivery_info.get("routing_key") or default_queue,
        priority=request.delivery_info.get("priority") or 0,
        run_at=maybe_iso8601(headers.get("eta")),
        max_retries=request.task.max_retries,
        max_crashes=getattr(request.task, "max_crashes", None),
        max_payload=NO_LIMIT,
    )
    return _job(request.task.name, headers, headers.get("properties") or {}, request._payload, place)


def adopted_message(message: Any, default_queue: str) -> NewJob:
    """The row of a message of protocol 2 for a task that is not known here."""
    headers = dict(message.headers)
    properties = message.properties or {}
    place = Placement(
        queue=(message.delivery_info or {}).get("routing_key") or default_queue,
        priority=properties.get("priority") or 0,
        run_at=maybe_iso8601(headers.get("eta")),
        max_payload=NO_LIMIT,
    )
    known = {name: properties[name] for name in ("correlation_id", "reply_to") if properties.get(name)}
    return _job(headers["task"], headers, known, message.payload, place)


def _job(task: str, headers: dict[str, Any], properties: dict[str, Any], payload: Any, place: Placement) -> NewJob:
    args, kwargs, embed = payload
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_REQUEST}
    known = {name: value for name, value in properties.items() if name in ("correlation_id", "reply_to")}
    return job_of(task, Message(kept, known, args, kwargs, embed or {}), place)
