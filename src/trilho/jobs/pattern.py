"""What calls of one task have in common: Celery makes the first, the others like it where it would say the same."""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.app.routes import MapRoute

from trilho import trace
from trilho.jobs import codec
from trilho.jobs.attempt import running
from trilho.jobs.enqueue import TRACE, RowProducer, checked_id, trace_header
from trilho.jobs.job import NewJob

if TYPE_CHECKING:
    from trilho.app import Trilho

ALIKE = frozenset({"queue", "priority", "time_limit", "soft_time_limit", "ignore_result"})
"""Options that say the same at each call."""

_NOT_SAID = frozenset(
    {"task_id", "producer", "result_cls", "task_type"}  # of this call alone
    | {"serializer", "delivery_mode", "compression", "immediate", "mandatory"}  # of messages: there is none
)
MOST = 1000


@dataclass(frozen=True, slots=True)
class Pattern:
    """A job without what differs from call to call."""

    task: str
    root_id: str | None  # None: each is its own
    fields: Mapping[str, Any]
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]

    @classmethod
    def of(cls, job: NewJob) -> "Pattern":
        """The pattern of a job that Celery has made."""
        headers = codec.loads(job.headers)
        headers.pop(TRACE, None)
        fields = {name: getattr(job, name) for name in NewJob.__slots__ if name not in _VARIES}
        return cls(job.task, None if job.root_id == job.id else job.root_id, fields, headers, headers.pop("properties"))

    def job(self, app: "Trilho", call: tuple[Any, Any], job_id: str, repr_levels: int, fresh: bool = False) -> NewJob:
        """Another one; raises TypeError or PayloadTooLarge for arguments that cannot be stored."""
        around, root_id = trace.current(), self.root_id or job_id
        args, kwargs = codec.dump_arguments(self.task, *call, app.settings.max_payload)
        reprs = app.amqp.reprs(*call, repr_levels)
        headers = {**self.headers, "argsrepr": reprs[0], "kwargsrepr": reprs[1]}
        headers["properties"] = {**self.properties, "correlation_id": job_id, "reply_to": app.thread_oid}
        if (told := trace_header(around, root_id)) is not None:
            headers[TRACE] = told
        return NewJob(
            **self.fields,
            id=job_id,
            args=args,
            kwargs=kwargs,
            headers=codec.dumps(headers),
            root_id=root_id,
            operation=around.correlation_id,
            cause=around.causation_id,
            via=around.via,
            fresh=fresh,
        )


_VARIES = frozenset({"id", "args", "kwargs", "headers", "root_id", "operation", "cause", "via", "fresh"})


class Patterns:
    """The patterns of one application."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app
        self._known: dict[Hashable, Pattern] = {}

    def key(self, name: str, options: Mapping[str, Any]) -> Hashable:
        """What calls with the same pattern have in common; None for a call that must be Celery's."""
        said = {option: value for option, value in options.items() if value is not None and option not in _NOT_SAID}
        task = options.get("task_type")
        if task is None or not said.keys() <= ALIKE or not nobody_looks(self._app):
            return None
        said = self._app.amqp.router.route(said, name, (), {}, task)
        queue = getattr(said.pop("queue", None), "name", None)
        return (name, queue, *said.items(), task.max_retries, task.max_crashes, os.getpid()) if queue else None

    def job(
        self, key: Hashable, args: Sequence[Any], kwargs: Mapping[str, Any], job_id: str, fresh: bool
    ) -> NewJob | None:
        """A job like others before it; None if there was none, or Celery would refuse the arguments."""
        pattern = self._known.get(key) if key is not None else None
        if pattern is None or not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
            return None
        return pattern.job(self._app, (args, kwargs), checked_id(job_id), self._app.amqp.repr_levels, fresh)

    def learn(self, key: Hashable, producer: Any, job_id: str) -> None:
        """Remember the job that Celery has made."""
        job = producer.rows[-1] if isinstance(producer, RowProducer) and producer.rows else None
        if key is not None and isinstance(job, NewJob) and job.id == job_id and job.canvas is None:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = Pattern.of(job)


def nobody_looks(app: "Trilho") -> bool:
    """Whether neither a signal, nor a route, nor a body that runs has a say in what is enqueued."""
    return (
        running() is None
        and app.current_worker_task is None
        and not (signals.before_task_publish.receivers or signals.after_task_publish.receivers)
        and app.amqp_cls == "trilho.jobs.amqp:RowAMQP"
        and all(isinstance(route, MapRoute) for route in app.amqp.routes)
        and not app.conf.task_send_sent_event
    )
