"""Trilho(Celery): ties settings, database and jobs together."""

import asyncio
import inspect
import threading
import warnings
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta, timezone
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, TypeVarTuple, overload

import uuid_utils
from celery import Celery
from celery.canvas import maybe_signature
from kombu import Connection as BrokerConnection
from kombu import Queue

from trilho.db.migrate import migrate
from trilho.db.pool import Connection, Database
from trilho.db.transaction import AsyncTx, Tx, ambient, atransaction, transaction
from trilho.dispatcher.loop import run_alone
from trilho.events.admin import Streams
from trilho.events.bus import Bus
from trilho.events.consumer import Consumer, ConsumerOptions
from trilho.events.retry import Retry
from trilho.jobs import bulk, codec
from trilho.jobs.admin import Jobs
from trilho.jobs.amqp import run_at, unique_of
from trilho.jobs.attempt import running
from trilho.jobs.backend import PostgresBackend
from trilho.jobs.conf import BACKEND, complete
from trilho.jobs.coroutines import Coroutines, CurrentTask, as_body
from trilho.jobs.decorator import BoundTask, PlainTask, TransactionalTask
from trilho.jobs.enqueue import Enqueuer, held, producing, steps_of
from trilho.jobs.job import PROCESSING
from trilho.jobs.joined import Joined
from trilho.jobs.pattern import Patterns
from trilho.jobs.pipe import Broker, Pipe, impatient_options
from trilho.jobs.result import Result
from trilho.jobs.runner import Runner
from trilho.jobs.task import Task, adapted, mixed
from trilho.jobs.unique import Ticket
from trilho.jobs.waiter import Waiter
from trilho.processes.shared import SharedState
from trilho.sagas.decorator import SagaDecorator
from trilho.sagas.definition import SagaDefinition, SagaOptions
from trilho.sagas.lines import SagaLines
from trilho.sagas.saga import Saga
from trilho.sagas.sagas import Sagas
from trilho.settings import Settings, load

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

MAX_SLOTS = 1024


class Trilho(Celery):  # type: ignore[misc]
    """A Celery application whose jobs are rows in PostgreSQL; brokers only carry wake-ups."""

    amqp_cls = "trilho.jobs.amqp:RowAMQP"
    task_cls = "trilho.jobs.task:Task"
    control_cls = "trilho.jobs.control:RowControl"
    events_cls = "trilho.worker.events:Events"

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        database: str | None = None,
        kafka: str | None = None,
        **options: Any,
    ) -> None:
        if backend is not None:
            warnings.warn(
                "backend= is not used: Trilho keeps results in PostgreSQL (TRILHO_DATABASE_URL)", stacklevel=2
            )
        self._given = {"broker_url": broker, "database_url": database, "kafka_bootstrap": kafka}
        self._bodies: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._migrations: list[Callable[[Connection], None]] = []
        super().__init__(main, **options)

    def _load_config(self) -> Any:
        """Celery's configuration, completed; the environment decides over what is written in code."""
        conf = super()._load_config()
        told = Settings().broker_url or self._given["broker_url"]
        for said in complete(conf, told, self.settings.broker_url):
            warnings.warn(said, stacklevel=2)
        return conf

    def _get_backend(self) -> PostgresBackend:
        """Ours, whatever `result_backend` says: it is what commits the transaction of a body."""
        wanted = self.conf.result_backend
        if wanted != BACKEND:
            warnings.warn(f"result_backend={wanted!r} is not used: Trilho keeps results in PostgreSQL", stacklevel=2)
        return PostgresBackend(app=self)

    # ---- parts

    @cached_property
    def settings(self) -> Settings:
        """Settings of this application, read once."""
        return load(**self._given)

    @cached_property
    def database(self) -> Database:
        """The database that holds the truth."""
        return Database(self.settings)

    @cached_property
    def pipe(self) -> Pipe:
        """Where wake-ups go."""
        return Pipe(self.impatient_broker)

    @cached_property
    def enqueuer(self) -> Enqueuer:
        """What writes new jobs."""
        return Enqueuer(self.database, self.pipe)

    @cached_property
    def patterns(self) -> Patterns:
        """What calls of each task have in common."""
        return Patterns(self)

    @cached_property
    def bus(self) -> Bus:
        """Publishes events, and knows their handlers."""
        return Bus(self)

    @cached_property
    def sagas(self) -> Sagas:
        """Knows the saga functions, looks at runs and steers them."""
        return Sagas(self)

    @cached_property
    def saga_lines(self) -> SagaLines:
        """Where threads write and read runs together."""
        return SagaLines(self.database, self.waiter.listener)

    @cached_property
    def streams(self) -> Streams:
        """Looks at topics, groups and dead letters, and steers them."""
        return Streams(self)

    @cached_property
    def waiter(self) -> Waiter:
        """What waits for the end of jobs."""
        return Waiter(self.database)

    @cached_property
    def jobs(self) -> Jobs:
        """Looks at jobs and steers them."""
        return Jobs(self)

    @cached_property
    def shared(self) -> SharedState:
        """Memory shared with pool processes; made before the pool forks."""
        return SharedState(MAX_SLOTS)

    @cached_property
    def runner(self) -> Runner:
        """What runs slices in this process."""
        return Runner(self, self.shared)

    @cached_property
    def coroutines(self) -> Coroutines:
        """What runs `async def` bodies in this process."""
        return Coroutines(lambda: self.database)

    def impatient_broker(self) -> Broker:
        """A broker connection that would rather fail than wait."""
        return Broker(self.connect_impatiently, lambda name: self._queue(name))

    def connect_impatiently(self) -> BrokerConnection:
        """A new connection to the broker that would rather fail than wait."""
        if not self.conf.broker_url:
            self.settings.require_broker()
        options = self.conf.broker_transport_options | impatient_options(self.conf.broker_url)
        return self.connection_for_write(transport_options=options, connect_timeout=1.0)

    def _queue(self, name: str) -> Queue:
        return self.amqp.queues[name]

    # ---- tasks

    if TYPE_CHECKING:

        @overload
        def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
        @overload
        def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
        @overload
        def task(self, *, transactional: Literal[True], **options: Any) -> TransactionalTask: ...
        @overload
        def task(self, *, bind: Literal[True], **options: Any) -> BoundTask: ...
        @overload
        def task(self, **options: Any) -> PlainTask: ...
        def task(self, *args: Any, **options: Any) -> Any:
            """Celery's decorator with its options; also `transactional=True` and `max_crashes=`."""
            ...

    def _task_from_fun(
        self, fun: Callable[..., Any], name: str | None = None, base: Any = None, bind: bool = False, **options: Any
    ) -> Any:
        # Celery may come here twice for one function, and tells a collision of names by the identity of the body.
        body = self._bodies.get(fun) or adapted(self, fun, bind, bool(options.get("transactional")))
        self._bodies[fun] = body
        base = None if base is None else mixed(base)
        return super()._task_from_fun(body, name=name, base=base, bind=bind, **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a class-based task."""
        task = task() if isinstance(task, type) else task
        task.__class__ = mixed(type(task))
        if "run" not in vars(task):  # registered before
            task.run = as_body(lambda: self.coroutines, task.run, inspect.iscoroutinefunction(task.run))
        return super().register_task(task, **options)

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, countdown: Any = None, eta: Any = None, **options: Any
    ) -> Any:
        """Enqueue a task by its name, with Celery's options."""
        given = options.get("task_id")
        options["task_id"] = given or str(uuid_utils.uuid7())
        # Not countdown= or eta=: Celery would ask the broker for its queue types. The row waits, not the message.
        when, unique = run_at(self, countdown, eta), unique_of(self, name, options["task_id"], options)
        options.pop("unique", None)
        if unique is None and when is None:
            return self._send_plain(name, args, kwargs, options, fresh=not given)
        if unique is None:
            return super().send_task(name, args, kwargs, trilho_run_at=when, **options)
        ticket = Ticket(options["task_id"], unique)
        result = super().send_task(name, args, kwargs, trilho_run_at=when, trilho_ticket=ticket, **options)
        ticket.give_to(result)
        return result

    def _send_plain(self, name: str, args: Any, kwargs: Any, options: dict[str, Any], *, fresh: bool) -> Any:
        """Enqueue for now; what Celery would say as it did before is not said by Celery again."""
        job_id, key = options["task_id"], self.patterns.key(name, options)
        job = self.patterns.job(key, args or (), kwargs or {}, job_id, fresh)
        with self.producer_or_acquire(options.pop("producer", None)) as producer:
            if job is None:
                result = super().send_task(name, args, kwargs, producer=producer, **options)
                self.patterns.learn(key, producer, job_id)
                return result
            self.amqp.take(producer, [job])
        result = (options.get("result_cls") or self.AsyncResult)(job_id)
        result.ignored = options.get("ignore_result")
        return result

    def producer_or_acquire(self, producer: Any = None) -> AbstractContextManager[Any]:
        """Celery asks for a producer around every publish; ours gathers rows."""
        return producing(self.enqueuer, producer)

    def enqueue_many(
        self, task: "Task[..., R]", items: Iterable[tuple[Any, ...] | Mapping[str, Any]], **options: Any
    ) -> list[Result[R]]:
        """Enqueue one job per item, a tuple of arguments or a mapping of keyword arguments, in one statement."""
        with self.producer_or_acquire() as producer:
            return bulk.enqueue(self, task, list(items), producer, options)

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """Celery's AsyncResult, which knows an unknown id from a waiting one."""
        return self.subclass_with_self("trilho.jobs.result:Result", name="AsyncResult", reverse="AsyncResult")

    def hold(self, signature: Any) -> None:
        """Give the ids of a signature rows before their turn."""
        rows = [held(step, self.amqp._queue_of) for step in steps_of(maybe_signature(signature, app=self))]
        attempt = running()
        if attempt is None:
            self.enqueuer.enqueue(rows)
            return
        attempt.next_run = next((row for row in rows if row.id == attempt.job.id), attempt.next_run)
        others = [row for row in rows if row.id != attempt.job.id]
        if attempt.dispatching or len(others) < len(rows):
            attempt.new_jobs += others
        else:
            self.enqueuer.enqueue(others)

    # ---- sagas

    @overload
    def saga(self, function: Callable[[Saga, *Ts], Coroutine[Any, Any, R]], /) -> SagaDefinition[R, *Ts]: ...
    @overload
    def saga(
        self,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        queue: str | None = None,
        events: Iterable[str] = (),
    ) -> SagaDecorator: ...
    def saga(self, *function: Any, **options: Any) -> Any:
        """Make an async function a saga: each step, wait, timer and undo of it is a row, so that it survives any crash.

        `retry` is the policy of steps and undos that have none, `timeout` the seconds for a whole run, `events` the
        topics that it may wait for. Raises ConfigurationError for a function that is not async, or a taken name.
        """
        define = partial(self.sagas.define, options=SagaOptions.of(**options))
        return define(*function) if function else define

    # ---- transactions

    def transaction(self) -> AbstractContextManager[Tx]:
        """One commit for a SQLAlchemy session and everything enqueued inside; nested, it is a savepoint."""
        return transaction(self.database)

    def atransaction(self) -> AbstractAsyncContextManager[AsyncTx]:
        """As `transaction`, for asyncio."""
        return atransaction(self.database)

    def join(self, connection: Any) -> Joined:
        """Enqueue with a Session, AsyncSession or psycopg connection of the project's own."""
        return Joined(self, connection)

    async def without_blocking(self, function: Callable[..., R], /, *args: Any) -> R:
        """Call at once what only fills an open transaction, and in a thread what writes."""
        if ambient(self.database) is not None:
            return function(*args)
        current = CurrentTask()

        def call() -> R:
            with current.also_here():
                return function(*args)

        return await asyncio.to_thread(call)

    # ---- inside a body

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress of the running body; outside of a worker it does nothing."""
        percent = None if not total else round(100 * current / total, 1)
        report = {"current": current, "total": total, "percent": percent, "message": message}
        self.report_progress(report, PROCESSING)

    def report_progress(self, meta: Any, state: str) -> None:
        """Write progress under a state of the caller's naming, throttled."""
        attempt = running()
        if attempt is not None and attempt.progress is not None:
            custom = None if state == PROCESSING else state
            attempt.progress.report(attempt.job.id, attempt.token, codec.dumps(meta), custom)

    def idempotency_key(self) -> str:
        """A text that is the same at every attempt of the step or job around the caller; raises RuntimeError elsewhere.

        Hand it on to whatever must not happen twice, such as a payment by HTTP.
        """
        return self.sagas.idempotency_key()

    # ---- running

    def on_migrate(self, step: Callable[[Connection], None]) -> Callable[[Connection], None]:
        """Register what `migrate` calls after Trilho's own migrations, in the same transaction."""
        self._migrations.append(step)
        return step

    def migrate(self) -> None:
        """Bring the `trilho` schema, and what `on_migrate` registered, up to date; safe from several processes."""
        self.finalize(auto=True)
        self.loader.import_default_modules()
        migrate(self.database, [self.bus.declare, *self._migrations])

    def run_dispatcher(self, stop: threading.Event) -> None:
        """Run the loops that keep promises until `stop` is set; raises ConfigurationError without a database."""
        self.settings.require_database()
        run_alone(self, stop)

    def close(self) -> None:
        """As Celery's; also closes the event loop of this thread, if an `async def` body ran in it."""
        if "coroutines" in self.__dict__:
            self.coroutines.close()
        super().close()

    def run_consumer(
        self, stop: threading.Event, groups: Collection[str] = (), name: str = "consumer", concurrency: int = 4
    ) -> None:
        """Handle the events of these groups, of all unless some are given, until `stop` is set.

        Raises ConfigurationError for a group without a handler, and where there is none at all.
        """
        self.finalize(auto=True)
        self.loader.import_default_modules()
        chosen = self.bus.subscriptions.of(groups)
        self.database.run(self.bus.declare)
        options = ConsumerOptions(name, concurrency, self.settings.shutdown_grace)
        Consumer(self.database, chosen, self.coroutines, options).run(stop)

    def now_plus(self, seconds: float) -> datetime:
        """A point in time, in UTC."""
        return datetime.now(timezone.utc) + timedelta(seconds=seconds)

    def aware(self, when: datetime) -> datetime:
        """The time with a zone: the application's, if it has none."""
        return when if when.tzinfo is not None else when.replace(tzinfo=self.timezone)
