"""Where Celery would publish: rows instead of messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.app.amqp import AMQP
from celery.utils.saferepr import saferepr
from celery.utils.time import maybe_iso8601
from kombu.exceptions import EncodeError

from trilho.jobs.attempt import RunningAttempt, running
from trilho.jobs.enqueue import Message, Placement, RowProducer, held_jobs, job_of
from trilho.jobs.job import NewJob
from trilho.jobs.reprs import LEVELS, plain_repr
from trilho.jobs.unique import Ticket, Unique, UniqueJob, key_of, wanted

if TYPE_CHECKING:
    from trilho.app import Trilho


class RowAMQP(AMQP):  # type: ignore[misc]
    """`.delay`, `send_task`, canvas, retry, replace and `celery call` all end in `send_task_message`."""

    app: "Trilho"

    def _retry_publish(self, publish: Any, *args: Any, **kwargs: Any) -> Any:
        """Celery calls this for exactly what a finishing task sends: its links and the next step of its chain."""
        attempt = running()
        if attempt is None:
            return publish(*args, **kwargs)
        try:
            with attempt.dispatch():
                return publish(*args, **kwargs)
        except (TypeError, ValueError) as error:  # to Celery's tracer: the result is at fault, not the worker
            raise EncodeError(f"what follows this task cannot be enqueued: {error}") from error

    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *others: Any, **options: Any
    ) -> Any:
        """As Celery's; for texts that are plain to see it need not be asked."""
        if options.get("argsrepr") is None and options.get("kwargsrepr") is None and isinstance(kwargs or {}, dict):
            options["argsrepr"], options["kwargsrepr"] = self.reprs(args or (), kwargs or {}, self.repr_levels)
        return super().as_task_v2(task_id, name, args, kwargs, *others, **options)

    @property
    def repr_levels(self) -> int:
        """How deep Celery looks into arguments."""
        return int(self.app.conf.task_repr_maxlevels)

    def reprs(self, args: Any, kwargs: Mapping[str, Any], levels: int) -> tuple[str, str]:
        """The texts of arguments, as Celery makes them."""
        return _repr(args, self.argsrepr_maxsize, levels), _repr(kwargs, self.kwargsrepr_maxsize, levels)

    def _create_task_sender(self) -> Any:
        before, after = signals.before_task_publish, signals.after_task_publish

        def send_task_message(
            producer: Any, name: str, message: Any, queue: Any = None, routing_key: str | None = None, **options: Any
        ) -> None:
            headers, properties, body, _ = message
            headers.update(options.get("headers") or {})
            target = getattr(queue, "name", queue) or routing_key or self.app.conf.task_default_queue
            before.send(
                sender=name, body=body, exchange="", routing_key=target, declare=[], headers=headers,
                properties=properties, retry_policy=None,
            )  # fmt: skip
            sent, place = Message(headers, properties, *body), self._placement(name, target, options)
            if (ticket := options.get("trilho_ticket")) is None:
                self._take(producer, name, sent, place)
            else:
                self.take(producer, [self._unique(name, sent, place, ticket)])
            after.send(sender=name, body=body, headers=headers, exchange="", routing_key=target)

        return send_task_message

    def _placement(self, name: str, queue: str, options: dict[str, Any]) -> Placement:
        task = self.app._tasks.get(name)
        when = options.get("trilho_run_at")
        return Placement(
            queue,
            priority=options.get("priority") or 0,
            run_at=when,
            max_retries=getattr(task, "max_retries", None),
            max_crashes=options.get("max_crashes", getattr(task, "max_crashes", None)),
            max_payload=self.app.settings.max_payload,
            timezone=self.app.timezone,
        )

    def _unique(self, name: str, message: Message, place: Placement, ticket: Ticket) -> UniqueJob:
        key = key_of(ticket.unique, name, self.app._tasks.get(name), message.args, message.kwargs)
        return UniqueJob(job_of(name, message, place), key, ticket)

    def _take(self, producer: Any, name: str, message: Message, place: Placement) -> None:
        job = job_of(name, message, place)
        rows = [job, *held_jobs(job, message, self._queue_of)]
        attempt = running()
        if attempt is not None and job.id == attempt.job.id:
            attempt.next_run = job
        elif attempt is not None and (
            attempt.dispatching or job.group_id in attempt.grown or hands_over(rows, attempt)
        ):
            attempt.new_jobs += [row for row in rows if row.id != attempt.job.id]
        else:
            self.take(producer, rows)

    def take(self, producer: Any, rows: Sequence[NewJob | UniqueJob]) -> None:
        """Enqueue rows, with those of the producer if it gathers them."""
        if isinstance(producer, RowProducer):
            producer.rows += rows
        else:
            self.app.enqueuer.enqueue(rows)

    def _queue_of(self, signature: Any) -> str:
        queue = signature.options.get("queue")
        if queue is None:
            route = self.app.amqp.router.route({}, signature.task, (), {})
            queue = route.get("queue")
        name: str = getattr(queue, "name", queue) or self.app.conf.task_default_queue
        return name


def _repr(value: Any, longest: int, levels: int) -> str:
    plain = plain_repr(value, longest) if levels >= LEVELS else None
    return saferepr(value, longest, maxlevels=levels) if plain is None else plain


def belongs_to_the_end(rows: list[NewJob], attempt: RunningAttempt) -> bool:
    """Whether these are for the commit of the attempt: what the tracer sends, a member of its chord, a replacement."""
    return bool(attempt.dispatching) or rows[0].group_id in attempt.grown or hands_over(rows, attempt)


def hands_over(rows: list[NewJob], attempt: RunningAttempt) -> bool:
    """`self.replace(chain)` gives the running id to the chain's last step: the row is held until then."""
    held = next((row for row in rows if row.held and row.id == attempt.job.id), None)
    if held is not None:
        attempt.next_run = held
    return held is not None


def run_at(app: "Trilho", countdown: float | None, eta: Any) -> Any:
    """When a call asks to run; None for at once. Raises TypeError or ValueError for what is no time."""
    if countdown:
        return app.now_plus(float(countdown))
    if eta is None or countdown is not None:
        return None
    if isinstance(eta, str):
        eta = maybe_iso8601(eta)
    if not isinstance(eta, datetime):
        raise TypeError(f"eta must be a datetime or an ISO 8601 text, not {eta!r}")
    return app.aware(eta)


_CANVAS = ("link", "link_error", "chain", "chord", "group_id")


def unique_of(app: "Trilho", name: str, task_id: str, options: Mapping[str, Any]) -> Unique | None:
    """How unique a call is to be; raises ValueError where it says so itself and others depend on its id."""
    attempt = running()
    if attempt is not None and (attempt.dispatching or attempt.job.id == task_id):
        return None
    tasks = app.tasks if app.autofinalize else app._tasks  # a task that is not bound yet has its option, too
    unique = wanted(options.get("unique"), tasks.get(name))
    if unique is None or not any(options.get(part) for part in _CANVAS):
        return unique
    if options.get("unique") is not None:
        raise ValueError("unique= is for single calls, without link=: the ids of a canvas are given out before")
    return None
