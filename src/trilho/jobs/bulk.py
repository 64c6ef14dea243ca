"""Many calls of one task at once: Celery makes the first; the others are made like it where it would say the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import celery
import uuid_utils.compat as uuid_utils
from celery import signals
from celery.app.routes import MapRoute

from trilho.jobs import codec
from trilho.jobs.attempt import running
from trilho.jobs.enqueue import RowProducer
from trilho.jobs.job import NewJob

if TYPE_CHECKING:
    from trilho.app import Trilho

Item = tuple[Any, ...] | Mapping[str, Any]

_ALIKE = frozenset(
    {"queue", "priority", "countdown", "eta", "expires", "time_limit", "soft_time_limit", "ignore_result"}
)
"""Options that mean the same for each call."""


def enqueue(app: "Trilho", task: Any, items: Sequence[Item], producer: Any, options: Mapping[str, Any]) -> list[Any]:
    """Enqueue one job per item, a tuple of arguments or a mapping of keyword arguments; the results in order."""
    results = [_apply(task, item, producer, options) for item in items[:1]]
    model = producer.rows[-1] if isinstance(producer, RowProducer) and producer.rows else None
    if isinstance(model, NewJob) and model.id == results[0].id and _are_alike(app, task, options):
        made = list(_like(app, task, model, items[1:]))
        producer.rows += made
        return results + [app.AsyncResult(job.id) for job in made]
    return results + [_apply(task, item, producer, options) for item in items[1:]]


def _apply(task: Any, item: Item, producer: Any, options: Mapping[str, Any]) -> Any:
    args, kwargs = _parts(item)
    return task.apply_async(args, kwargs, producer=producer, **options)


def _parts(item: Item) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((), dict(item)) if isinstance(item, Mapping) else (tuple(item), {})


def _are_alike(app: "Trilho", task: Any, options: Mapping[str, Any]) -> bool:
    """Whether nothing of Celery's, and nothing of the application's, looks at each call: hooks, routes, signals."""
    kind = task.__class__  # of the task behind a proxy
    return (
        options.keys() <= _ALIKE
        and running() is None
        and not (signals.before_task_publish.receivers or signals.after_task_publish.receivers)
        and kind.apply_async is celery.Task.apply_async
        and kind.shadow_name is celery.Task.shadow_name
        and getattr(task, "__self__", None) is None
        and all(isinstance(route, MapRoute) for route in app.amqp.routes)
        and not (app.conf.task_always_eager or app.conf.task_send_sent_event)
    )


def _like(app: "Trilho", task: Any, model: NewJob, items: Sequence[Item]) -> Iterator[NewJob]:
    """Jobs that differ from the model in nothing but their arguments; raises what `apply_async` raises for these."""
    headers, limit = codec.loads(model.headers), app.settings.max_payload
    properties = headers["properties"]
    check = getattr(task, "__header__", None) if task.typing else None
    for item in items:
        args, kwargs = _parts(item)
        if check is not None:
            check(*args, **kwargs)
        job_id = str(uuid_utils.uuid7())
        headers["argsrepr"], headers["kwargsrepr"] = app.amqp.reprs(args, kwargs)
        properties["correlation_id"] = job_id
        texts = codec.dump_arguments(task.name, args, kwargs, limit)
        root_id = job_id if model.root_id == model.id else model.root_id
        yield replace(model, id=job_id, args=texts[0], kwargs=texts[1], headers=codec.dumps(headers), root_id=root_id)
