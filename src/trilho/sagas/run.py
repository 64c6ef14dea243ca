"""The body of a stretch's job: plays the function, and decides how the stretch ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any

from celery.exceptions import Reject

from trilho.db.pool import LOST, Connection
from trilho.db.text import escaped
from trilho.jobs import codec
from trilho.jobs.attempt import running
from trilho.jobs.job import NewJob
from trilho.log import get_logger
from trilho.sagas import failure, store
from trilho.sagas.bodies import LEFT, is_ending
from trilho.sagas.completion import Completion, tell_caller
from trilho.sagas.journal import Abandoned, Journal
from trilho.sagas.play import played
from trilho.sagas.record import CANCELLED_RUN, FAILED_RUN, TIMED_OUT_RUN, Claim, Failure
from trilho.sagas.saga import Saga
from trilho.sagas.scope import Stopped, Suspended
from trilho.sagas.stretch import Stretch, unvisited
from trilho.sagas.undoing import Compensation, GaveUp

if TYPE_CHECKING:
    from trilho.app import Trilho
    from trilho.sagas.definition import SagaDefinition

log = get_logger("trilho.sagas")

Ending = Callable[[Connection], list[NewJob]]


class Stuck(Exception):
    """A person has to decide."""


@dataclass(frozen=True)
class Verdict:
    """Why a run is undone."""

    verdict: str
    error: str
    failure: Failure | None = None


@dataclass
class RunOfStretch:
    """One stretch from its beginning to its end."""

    app: "Trilho"
    definition: "SagaDefinition[Any, *tuple[Any, ...]]"
    journal: Journal

    def __post_init__(self) -> None:
        self.stretch = Stretch(self.journal, self.definition)
        self.run = self.journal.run

    async def play(self) -> Ending:
        """Everything that happens; how the stretch ends is written with the end of its job."""
        self.stretch.begin()
        try:
            return await self._forward() if self.run.verdict is None else await self._backward()
        except Suspended:
            return self._suspend()
        except (Stuck, GaveUp, Stopped) as error:
            return self._get_stuck(str(error))
        finally:
            self.stretch.over = True

    async def _forward(self) -> Ending:
        ordered = self._ordered()
        self.stretch.closed, self.stretch.heeds_cancel = ordered is not None, True
        text, raised = await self._function()
        if ordered is None and self.stretch.scope.suspended:
            return self._suspend()
        if ordered is None and raised is None:
            return Completion(self.journal, text)
        verdict = ordered or failed(raised)
        self.journal.condemn(verdict.verdict, verdict.error, verdict.failure)
        log.info("saga.undone", saga=self.run.id, name=self.run.name, because=verdict.error)
        return await self._undo()

    def _ordered(self) -> Verdict | None:
        """Why the run is to be undone whatever the function would do."""
        if self.run.cancel_requested_at is not None:
            return Verdict(CANCELLED_RUN, "it was cancelled")
        if self.run.deadline is not None and self.journal.now() >= self.run.deadline:
            return Verdict(TIMED_OUT_RUN, f"SagaTimeout: it did not end within {self.definition.options.timeout} s")
        return None

    async def _backward(self) -> Ending:
        """The function is played only for its undos."""
        self.stretch.closed = True
        await self._function()
        return await self._undo()

    async def _function(self) -> tuple[str, Exception | None]:
        """Its value as JSON, or what it raised; raises Stuck where it does not fit the record."""
        try:
            arguments = self.definition.loaded(self.run)
        except TypeError as error:
            raise Stuck(str(error)) from error
        text, raised = await self._called(arguments)
        if self.stretch.abandoned is not None:
            raise Abandoned(f"the stretch has ended: {self.stretch.abandoned!r}") from self.stretch.abandoned
        if self.stretch.mismatch is not None:
            raise Stuck(self.stretch.mismatch)
        if not self.stretch.scope.suspended and (left := unvisited(self.stretch)) is not None:
            raise Stuck(left) from raised
        return text, raised

    async def _called(self, arguments: BoundArguments) -> tuple[str, Exception | None]:
        try:
            value = await played(self.definition.function(Saga(self.stretch), *arguments.args, **arguments.kwargs))
            self.stretch.ensure_awaited()
            return self._dumped(value), None
        except (Suspended, Stopped):
            return "null", self.journal.full
        except Exception as error:
            return "null", error
        except asyncio.CancelledError as error:
            if is_ending(error):
                raise
            return "null", RuntimeError(LEFT.format(f"saga {self.run.name}"))
        finally:
            self.stretch.drop()

    async def _undo(self) -> Ending:
        self.stretch.reopen()
        await Compensation(self.app, self.stretch).run()
        return self._compensated()

    # ---- endings

    def _suspend(self) -> Ending:
        stretch, journal = self.stretch, self.journal
        timers = [stretch.wake_at, self.run.deadline if stretch.heeds_cancel else None]  # an undo has no time limit
        values = {
            "saga": self.run.id,
            "job": journal.claim.job_id,
            "seen": self.run.wakes,
            "wake_at": min((when for when in timers if when is not None), default=None),
        }

        def ending(connection: Connection) -> list[NewJob]:
            missed = self._look_for_events(connection)
            journal.write(connection, ending=True)
            return [*journal.jobs, *store.jobs(connection, "suspend", again=stretch.again or missed, **values)]

        return ending

    def _look_for_events(self, connection: Connection) -> bool:
        """Whether an event came between the look of the function and now; from here on deliveries wait for us."""
        lanes, since, taken = self.stretch.lanes, self.journal.since, sorted(self.journal.taken())
        if not lanes:
            return False
        store.lock_lanes(connection, lanes)
        return any(store.event(connection, topic, key, since, taken) is not None for topic, key in lanes)

    def _dumped(self, value: Any) -> str:
        if self.stretch.scope.suspended:  # somebody swallowed what left the function
            return "null"
        text = codec.dump_value(f"the result of saga {self.run.name}", value, self.app.settings.max_payload)
        self.definition.result(text)  # or nobody could get it
        return text

    def _compensated(self) -> Ending:
        run, journal = self.run, self.journal

        def ending(connection: Connection) -> list[NewJob]:
            journal.write(connection, ending=True)
            store.changed(connection, "undone", saga=run.id, job=journal.claim.job_id)
            return tell_caller(connection, run)

        return ending

    def _get_stuck(self, reason: str) -> Ending:
        run, journal, reason = self.run, self.journal, escaped(reason)
        log.error("saga.stuck", saga=run.id, name=run.name, because=reason)

        def ending(connection: Connection) -> list[NewJob]:
            journal.write(connection, ending=True)
            store.changed(connection, "get_stuck", saga=run.id, job=journal.claim.job_id, reason=reason)
            return list(journal.jobs)

        return ending


def failed(error: Exception | None) -> Verdict:
    """The verdict on a function that raised."""
    assert error is not None
    told = failure.recorded(error)
    return Verdict(FAILED_RUN, told.error, told)


async def stretch(app: "Trilho", definition: "SagaDefinition[Any, *tuple[Any, ...]]", saga_id: str) -> None:
    """The body of the task of a saga; its end rides on the end of the job."""
    attempt = running()
    if attempt is None:
        raise RuntimeError("a stretch of a saga runs in a worker")
    claim = Claim(attempt.job.id, attempt.token)
    faults = app.database.faults
    try:
        run = app.saga_lines.loads.do((saga_id, claim.job_id))
        if run is None:
            return
        journal = Journal.of(app, run, claim, attempt.job.crash_count)
        faults.hit("saga.loaded")
        ending = await RunOfStretch(app, definition, journal).play()
    except (Abandoned, *LOST) as error:
        raise Reject(f"nobody's attempt: {error}", requeue=True) from error

    def ride(connection: Connection) -> list[NewJob]:
        faults.hit("saga.end_before_commit")
        return ending(connection)

    attempt.riders.append(ending if isinstance(ending, Completion) else ride)
