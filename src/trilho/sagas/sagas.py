"""`app.sagas`: the sagas of an application, and what wakes their runs."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from trilho.db.pending import write_now
from trilho.db.pool import Connection
from trilho.db.text import is_storable
from trilho.db.transaction import ambient
from trilho.errors import ConfigurationError, JobStateError, TransactionError, UnknownJob, UnknownSaga
from trilho.jobs import codec
from trilho.jobs.attempt import RunningAttempt, running
from trilho.jobs.job import NewJob
from trilho.jobs.task import Task
from trilho.sagas import store
from trilho.sagas.bodies import KEY, STEP_KEY
from trilho.sagas.completion import plain_end
from trilho.sagas.definition import SagaDefinition, SagaOptions
from trilho.sagas.delivery import GROUP, Delivery
from trilho.sagas.handle import SagaHandle
from trilho.sagas.record import MAX_ID
from trilho.sagas.run import stretch
from trilho.sagas.shape import Shape
from trilho.sagas.start import NewSaga, NewSignal, SagaSink, SignalSink, begin_now
from trilho.sagas.view import SagaFilter, SagaPage

if TYPE_CHECKING:
    from trilho.app import Trilho

R = TypeVar("R")
DUE_BATCH = 500


class Sagas:
    """Knows the saga functions, looks at runs and steers them."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app
        self.definitions: dict[str, SagaDefinition[Any, *tuple[Any, ...]]] = {}
        self.replay_always = False
        self.topics: set[str] = set()
        self._shapes: WeakKeyDictionary[Any, Shape] = WeakKeyDictionary()

    # ---- defining

    def define(
        self, function: Callable[..., Coroutine[Any, Any, R]], options: SagaOptions
    ) -> "SagaDefinition[R, *tuple[Any, ...]]":
        """Register a saga function; raises ConfigurationError for one that is not async, or a name that is taken."""
        app, name = self._app, options.name or function.__name__
        definition: SagaDefinition[R, *tuple[Any, ...]] = SagaDefinition(app, function, name, options)
        known = self.definitions.setdefault(name, definition)
        if known is not definition:
            raise ConfigurationError(
                f"there is a saga {name!r} already ({known.function.__module__}): give one of them name="
            )

        async def body(saga_id: str) -> None:
            await stretch(app, definition, saga_id)

        body.__module__, body.__qualname__, body.__doc__ = function.__module__, function.__qualname__, function.__doc__
        app.task(name=definition.task_name, max_retries=0, ignore_result=True, shared=False)(body)
        self._listen(options.events)
        return definition

    def _listen(self, topics: Sequence[str]) -> None:
        """Have a consumer group of our own keep the events that sagas may wait for."""
        new = [topic for topic in topics if topic not in self.topics]
        self.topics.update(new)
        if new:
            self._app.bus.subscribe(*new, group=GROUP)(Delivery(self._app).keep)

    def shape(self, function: Any) -> Shape:
        """What a task or function takes and gives; raises TypeError for what cannot be a step."""
        if not isinstance(function, Task) and "<locals>" in getattr(function, "__qualname__", "<locals>"):
            return Shape.of(function)  # another one each time the saga function is played
        known = self._shapes.get(function)
        if known is None:
            known = Shape.of(function)
            self._shapes[function] = known
        return known

    def idempotency_key(self) -> str:
        """The key of the step or job around the caller; raises RuntimeError elsewhere."""
        attempt = running()
        if (key := STEP_KEY.get()) is not None:
            return key
        if attempt is None:
            raise RuntimeError("there is no idempotency key here: it belongs to the body of a step or of a job")
        return str(codec.loads(attempt.job.headers).get(KEY) or attempt.job.id)

    # ---- looking and steering

    def get(self, saga_id: str) -> SagaHandle[Any]:
        """The handle of a run; raises UnknownSaga, also for what no run can be called."""
        run = self._app.database.run(store.view, saga_id) if is_storable(saga_id, MAX_ID) else None
        if run is None:
            raise UnknownSaga(saga_id)
        return SagaHandle(self._app, saga_id, self.definitions.get(run.name))

    def list(self, wanted: SagaFilter | None = None) -> SagaPage:
        """One page of runs, newest first."""
        return self._app.database.run(store.page, wanted or SagaFilter())

    async def aget(self, saga_id: str) -> SagaHandle[Any]:
        """As `get`, without blocking the event loop."""
        return await self._app.without_blocking(self.get, saga_id)

    async def alist(self, wanted: SagaFilter | None = None) -> SagaPage:
        """As `list`, without blocking the event loop."""
        return await self._app.without_blocking(self.list, wanted)

    # ---- writing

    @property
    def runs(self) -> SagaSink:
        """Where new runs go."""
        return SagaSink(self._app.enqueuer.jobs.committed)

    def begin(self, row: NewSaga, *, fresh: bool) -> None:
        """Write a new run, with the ambient transaction or durably at once; a `fresh` id waits for nobody's commit, so
        that runs of other threads may be written with it."""
        if fresh and self._alone():
            begin_now(self._app.database.faults, self._app.saga_lines.starts, self.runs, row)
        else:
            self._write(self.runs, [row])

    def signal(self, row: NewSignal) -> None:
        """Write a signal, with the ambient transaction or durably at once."""
        self._write(SignalSink(self._app.enqueuer.jobs.committed), [row])

    def _write(self, sink: Any, rows: Sequence[Any]) -> None:
        if self._alone():
            write_now(self._app.database, [(sink, row) for row in rows])
            return
        tx = ambient(self._app.database)
        assert tx is not None
        for row in rows:
            tx.add(sink, row)

    def _alone(self) -> bool:
        """Whether the caller has no transaction; raises TransactionError where it has to have one."""
        if ambient(self._app.database) is not None:
            return False
        if self._app.settings.require_transaction and running() is None:
            raise TransactionError("TRILHO_REQUIRE_TRANSACTION is set: do this inside app.transaction() or app.join()")
        return True

    # ---- what wakes runs

    def jobs_ended(self, connection: Connection, ids: Sequence[str]) -> Sequence[NewJob]:
        """These jobs ended in this transaction: steps are recorded, and their runs woken; returns the stretches."""
        self._app.database.faults.hit("saga.wake_before_commit")
        connection.execute(store.SQL["stretches_ended"], {"ids": list(ids)})
        found = connection.execute(store.SQL["steps_ended"], {"ids": list(ids)}).fetchall()
        return store.jobs(connection, "wake", ids=sorted({row[0] for row in found})) if found else []

    def complete(self, attempts: Sequence[RunningAttempt]) -> set[str]:
        """End those of these attempts that complete a run, and on which nothing else hangs; their jobs.

        The others have to be ended one by one: a claim is lost, or somebody has asked for the end of the run.
        """
        plain = [end for attempt in attempts if (end := plain_end(attempt)) is not None]
        if not plain:
            return set()
        self._app.database.faults.hit("saga.end_before_commit")
        return self._app.saga_lines.ends.do(plain)

    def wake_due(self, connection: Connection) -> bool:
        """Wake suspended runs whose timer is over; whether there may be more."""
        faults = self._app.database.faults
        with connection.transaction():
            jobs = store.jobs(connection, "wake_due", limit=DUE_BATCH)
            if jobs:
                faults.hit("saga.timer_before_commit")
        if jobs:
            faults.hit("saga.timer_after_commit")
        self._app.enqueuer.jobs.committed(jobs)
        return len(jobs) == DUE_BATCH

    def end_job(self, job_id: str) -> None:
        """End the job of a step, unless it has ended; a running one within seconds."""
        try:
            self._app.jobs.cancel(job_id)
        except (JobStateError, UnknownJob):
            return
