"""Many calls of one task at once: Celery makes the first; the others are made like it where it would say the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import celery
import uuid_utils

from trilho.jobs.enqueue import RowProducer
from trilho.jobs.job import NewJob
from trilho.jobs.pattern import ALIKE, Pattern, nobody_looks

if TYPE_CHECKING:
    from trilho.app import Trilho

Item = tuple[Any, ...] | Mapping[str, Any]

_ALIKE = ALIKE | {"countdown", "eta", "expires"}


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
    """Whether nothing of Celery's, and nothing of the application's, looks at each call."""
    kind = task.__class__  # of the task behind a proxy
    return (
        options.keys() <= _ALIKE
        and nobody_looks(app)
        and kind.apply_async is celery.Task.apply_async
        and kind.shadow_name is celery.Task.shadow_name
        and getattr(task, "__self__", None) is None
        and not app.conf.task_always_eager
    )


def _like(app: "Trilho", task: Any, model: NewJob, items: Sequence[Item]) -> Iterator[NewJob]:
    """Jobs that differ from the model in nothing but their arguments; raises what `apply_async` raises for these."""
    pattern, levels = Pattern.of(model), app.amqp.repr_levels
    check = getattr(task, "__header__", None) if task.typing else None
    for item in items:
        args, kwargs = _parts(item)
        if check is not None:
            check(*args, **kwargs)
        yield pattern.job(app, (args, kwargs), str(uuid_utils.uuid7()), levels)
