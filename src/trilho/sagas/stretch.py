"""One stretch of a run: the function is played from its beginning, what is recorded is given back, and what is not
happens, until it waits, ends, or fails."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from trilho.db.pool import LOST
from trilho.db.text import checked
from trilho.errors import ConfigurationError, PermanentError
from trilho.events.envelope import key_bytes
from trilho.jobs import codec
from trilho.sagas import replay, store
from trilho.sagas.bodies import Body, begin_task, make_ready, run_here
from trilho.sagas.failure import rebuilt
from trilho.sagas.journal import Abandoned, Journal
from trilho.sagas.play import halted
from trilho.sagas.promise import Promise
from trilho.sagas.record import (
    CALL,
    EVENT,
    LONGEST_KEY,
    LONGEST_NAME,
    OPEN,
    PATCH,
    SIGNAL,
    SLEEP,
    STEP,
    UUID,
    Entry,
    Mail,
)
from trilho.sagas.replay import Begin, Call, Decision, Expire, Give, Mismatch, Stay, Throw, Wait
from trilho.sagas.scope import Scope, Stopped, Suspended, is_leaving, last_places
from trilho.sagas.shape import Shape

if TYPE_CHECKING:
    from trilho.sagas.definition import SagaDefinition


class Misused(PermanentError, RuntimeError):
    """A call of a saga from where there can be none."""


@dataclass(frozen=True)
class Undoing:
    """How a step is undone: the undo and its arguments, of which the result comes from the record."""

    body: Body
    wants_result: bool
    step: Shape


@dataclass
class Stretch:
    """What the calls of a saga function do. `frontier` is closed where nothing new may begin any more."""

    journal: Journal
    definition: "SagaDefinition[Any, *tuple[Any, ...]]"
    closed: bool = False
    over: bool = False
    again: bool = False
    heeds_cancel: bool = False
    mismatch: str | None = None
    abandoned: BaseException | None = None
    wake_at: datetime | None = None
    lanes: list[tuple[str, bytes]] = field(default_factory=list)
    undoings: dict[str, Undoing] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    scope: Scope = field(default_factory=Scope)
    made: dict[Promise, None] = field(default_factory=dict)
    _owner: Any = None
    _halted: bool = False

    def __post_init__(self) -> None:
        self._recorded = last_places(self.journal.entries)

    @property
    def replaying(self) -> bool:
        """Whether something is recorded behind this place, or nothing from here on will be."""
        return self.closed or self.mismatch is not None or self.scope.count < self._recorded.get(self.scope.prefix, 0)

    @property
    def hopeless(self) -> bool:
        """Whether the code goes on though it was told, again and again, that nothing of it counts."""
        ended = not (self.mismatch is None and self.abandoned is None and self.journal.full is None)
        return self._halted or (ended and self.scope.out_of_patience)

    def halt(self) -> Coroutine[Any, Any, None]:
        """A call that does not return: for good, for what is left of the code may be closed in any order."""
        self._halted = True
        return halted()

    def begin(self) -> None:
        """The function starts, in this task."""
        self._owner = asyncio.current_task()

    def reopen(self) -> None:
        """The function has been played; its undos may begin."""
        self.closed = self.heeds_cancel = False
        self.scope, self.wake_at, self.lanes = Scope(), None, []

    def ensure_awaited(self) -> None:
        """The function has returned; raises Misused for calls that it made and did not await."""
        if self.made:
            raise Misused(f"{', '.join(map(str, self.made))}: made by the saga function but never awaited: await it")

    def drop(self) -> None:
        """The function has been left: what it did not come to is not to be awaited any more."""
        for promise in list(self.made):
            promise.close()

    # ---- the frame of every call

    def _place(self, kind: str, name: str) -> Call:
        self._ensure_inside()
        checked(f"the name of {kind} {name!r:.80}", name, LONGEST_NAME)
        call = Call(self.scope.next(), kind, name)
        self.visited.add(call.path)
        if self.journal.full is not None and call.path not in self.journal.entries:
            self.scope.refused += 1
        if call.path not in self.journal.entries and any(p.startswith(f"{call.path}.") for p in self.journal.entries):
            self._stop(f"the code does not fit the record at step {call.path}: recorded is a gather, the code has "
                       f"{kind} {name!r} now")  # fmt: skip
        return call

    def _ensure_inside(self) -> None:
        if self.over:
            raise Misused("this run's stretch is over: await every call of the saga inside the saga function")
        if self.journal.in_body is not None:
            raise Misused("a step cannot make calls of the saga: make them in the saga function")
        if asyncio.current_task() is not self._owner:
            raise Misused("calls of a saga belong to its function; for steps in parallel use saga.gather()")
        if self.mismatch is not None:
            self.scope.refuse(Stopped(self.mismatch))
        if self.scope.suspended:
            self._refuse_while_leaving()
        self._refuse_while_ended()

    def _refuse_while_leaving(self) -> NoReturn:
        """Calls in `finally` blocks belong to another stretch; others would wait for ever, and never let the run."""
        if is_leaving(sys.exc_info()[1]) and not self.scope.out_of_patience:
            self.scope.refuse(Suspended())
        self._stop(
            f"the run waits at step {self.scope.here}, and the code has swallowed the BaseException that was to leave "
            "the saga function until then: let it through (`except Exception` instead of `except BaseException` or a "
            "bare `except`, no `return` in a `finally`), then retry"
        )

    def _refuse_while_ended(self) -> None:
        """A `finally` block of a function that is torn down (shutdown, a lost claim) belongs to another stretch."""
        leaving = sys.exc_info()[1]
        if self.abandoned is None and leaving is not None and not isinstance(leaving, Exception):
            self.abandoned = leaving
        if self.abandoned is not None:
            self.scope.refuse(Abandoned(f"the stretch has ended: {self.abandoned!r}"))

    @contextmanager
    def _io(self) -> Iterator[None]:
        """What fails in here lies in no code of the user, who shall not hear of it."""
        try:
            yield
        except LOST as error:
            self.abandoned = error
            raise Abandoned(f"PostgreSQL is away: {error}") from error
        except Exception:
            raise
        except BaseException as error:
            self.abandoned = error
            raise

    def _stop(self, reason: str) -> NoReturn:
        self.mismatch = reason
        raise Stopped(reason)

    def suspend(self, until: datetime | None = None) -> NoReturn:
        """Leave the function, to come back at `until` or when something wakes the run."""
        if until is not None:
            self.wake_at = until if self.wake_at is None else min(until, self.wake_at)
        self.scope.suspended = True
        raise Suspended

    def _frontier(self) -> None:
        """Something new is about to happen."""
        if self.closed or (self.heeds_cancel and self.journal.cancelled):
            self.suspend()

    def _settled(self, decision: Decision) -> Entry | None:
        """The entry of a call that ended well, None where it goes on; raises where it failed or has to wait."""
        match decision:
            case Mismatch(reason):
                self._stop(reason)
            case Give(entry, new) | Throw(entry, new):
                if new:
                    self._frontier()
                    self.journal.put(entry, decided=entry.kind != UUID)
                if isinstance(decision, Throw):
                    raise rebuilt(entry)
                return entry
            case Stay(until, entry):
                self._frontier()
                if entry is not None:
                    self.journal.put(entry)
                self.suspend(until)
        return None

    # ---- steps

    async def step(self, body: Body, undo: Undoing | None) -> Any:
        """A step that ends well gives its result."""
        call = self._place(STEP, body.shape.name)
        if undo is not None:
            self.undoings[call.path] = undo
        limit = self.journal.app.settings.max_payload
        args, _ = codec.dump_arguments(f"step {call.name}", body.args, {}, limit)
        self._compare(call, args)
        undone_by, atomic = (None, True) if undo is None else (undo.body.shape.name, body.is_atomic)
        new = Entry(call.path, STEP, call.name, OPEN, args=args, undo=undone_by, atomic=atomic)
        entry = await self.advance(call, new, body)
        return self.journal.value(entry, body.shape)

    def _compare(self, call: Call, args: str) -> None:
        """In tests other arguments than the recorded ones are found, too."""
        known = self.journal.entries.get(call.path)
        if self.journal.app.sagas.replay_always and known is not None and known.args != args:
            self._stop(
                f"the code is not deterministic: step {call.path} ({call.name}) was called with {known.args}, "
                f"and is called with {args} now; take what changes from a step, saga.now() or saga.uuid()"
            )

    async def advance(self, call: Call, new: Entry, body: Body) -> Entry:
        """Bring a step or an undo as far as it goes now."""
        while True:
            entry = self.journal.entries.get(call.path)
            decision = replay.of_step(call, entry, body.pause, self.journal.now())
            if (settled := self._settled(decision)) is not None:
                return settled
            self._frontier()
            if isinstance(decision, Expire):
                self._expire(decision.entry)
            assert isinstance(decision, Begin)
            begun = self._begun(new, entry, decision.attempt)
            if body.shape.task is not None:
                begin_task(self.journal, begun, body)
                self.suspend(self.journal.entries[call.path].due_at)
            with self._io():
                make_ready(self.journal, begun)
            self._frontier()  # what was written came back with the news of a cancel
            with self._io():
                await run_here(self.journal, begun, body)
            self._look_again()

    def _begun(self, new: Entry, known: Entry | None, attempt: int) -> Entry:
        """An attempt as it begins: its function is recorded at its end, with the time of now."""
        if known is None:
            return replace(new, started_at=self.journal.now())
        return replace(known, attempt=attempt, timed_out=False, atomic=new.atomic and known.atomic)

    def _look_again(self) -> None:
        """In tests every run is played anew after each step."""
        if self.journal.app.sagas.replay_always:
            self.again = True
            self.suspend()

    def _expire(self, entry: Entry) -> NoReturn:
        app, run = self.journal.app, self.journal.run
        values = {"saga": run.id, "path": entry.path, "job": entry.job_id}
        with self._io():
            if app.database.run(store.changed, "time_out", **values):
                app.sagas.end_job(str(entry.job_id))
        self.suspend()

    # ---- branches

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        """Every branch goes as far as it can; then all results, or the first error, once all have ended."""
        results: list[Any] = []
        errors: list[Exception] = []
        waiting = False
        left = list(branches)
        try:
            self._ensure_inside()
            path = self.scope.next()
            if path in self.journal.entries:
                self._stop(f"the code does not fit the record at step {path}: the code has a gather now")
            outer = self.scope
            for index, branch in enumerate(branches):
                left.pop(0)
                self.scope = outer.branch(path, index)
                try:
                    results.append(await branch)
                except Suspended:
                    waiting = True
                except Exception as error:  # the other branches have begun: they come to their end first
                    errors.append(error)
                finally:
                    waiting = waiting or self.scope.suspended
                    self.scope = outer
        finally:
            for branch in left:
                getattr(branch, "close", lambda: None)()
        if waiting:
            self.suspend()
        if errors:
            raise errors[0]
        return results

    # ---- waits

    def sleep(self, seconds: float) -> None:
        """A timer."""
        call = self._place(SLEEP, "sleep")
        self._settled(replay.of_sleep(call, self.journal.entries.get(call.path), seconds, self.journal.now()))

    def wait_signal(self, name: str, timeout: float | None) -> Any:
        """The data of the first signal of this name that was not taken."""
        call = self._place(SIGNAL, name)
        taken = self.journal.taken()
        mail = next((m for m in self.journal.signals if m.name == name and m.number not in taken), None)
        return self._wait(call, Wait(mail, timeout))

    def wait_event(self, topic: str, key: Any, timeout: float | None) -> Any:
        """The data of the first event of this key that was not taken."""
        if topic not in self.definition.options.events:
            raise ConfigurationError(
                f"saga {self.definition.name} waits for events of {topic!r}, which it does not name: "
                f"@app.saga(events=({topic!r},))"
            )
        raw = key_bytes(key)
        if raw is None:
            raise TypeError("wait_event needs key=: events without one are for nobody in particular")
        if len(raw) > LONGEST_KEY:
            raise ValueError(f"wait_event takes keys of up to {LONGEST_KEY} bytes, this one has {len(raw)}")
        call = self._place(EVENT, topic)
        known = self.journal.entries.get(call.path)
        mail = None if known is not None and known.ended else self._event(topic, raw)
        return self._wait(call, Wait(mail, timeout, raw))

    def _event(self, topic: str, key: bytes) -> Mail | None:
        journal = self.journal
        with self._io():
            return journal.app.database.run(store.event, topic, key, journal.since, sorted(journal.taken()))

    def _wait(self, call: Call, wait: Wait) -> Any:
        decision = replay.of_wait(call, self.journal.entries.get(call.path), wait, self.journal.now())
        if isinstance(decision, Stay) and wait.key is not None:
            self.lanes.append((call.name, wait.key))
        entry = self._settled(decision)
        assert entry is not None
        return codec.loads(entry.result)

    # ---- runs of other sagas

    def call(self, other: "SagaDefinition[Any, *tuple[Any, ...]]", args: Sequence[Any], saga_id: str | None) -> Any:
        """Another saga; its own undos undo it."""
        call = self._place(CALL, other.name)
        decision = replay.of_call(call, self.journal.entries.get(call.path))
        settled = self._settled(decision)
        if settled is not None:
            return other.result(settled.result)
        self._frontier()
        run = self.journal.run
        child = other.new(args, saga_id or f"{run.id}/{call.path}")
        child = replace(child, parent_id=run.id, parent_path=call.path, correlation_id=run.correlation_id)
        entry = Entry(
            call.path, CALL, other.name, OPEN, child_id=child.id, args=child.args, undo=other.name, atomic=True
        )
        with self._io():
            self.journal.begin_child(child, entry)
        if (failed := self.journal.entries[call.path]).ended:
            raise rebuilt(failed)
        return self.suspend()

    # ---- values that are made once

    def mark(self, kind: str, name: str, make: Callable[[Call], Any]) -> Any:
        """A value that later replays get back."""
        if self.hopeless:  # nothing but a call that is awaited can be left: let the code come to one
            return make(Call(self.scope.here, kind, name))
        call = self._place(kind, name)
        entry = self._settled(replay.of_mark(call, self.journal.entries.get(call.path), codec.dumps(make(call))))
        assert entry is not None
        return codec.loads(entry.result)

    def patched(self, name: str) -> bool:
        """Whether this run takes the new way: where an older one goes on behind this place, it does not."""
        if self.hopeless:
            return True
        self._ensure_inside()
        known = self.journal.entries.get(self.scope.peek())
        if known is not None and (known.kind, known.name) != (PATCH, name):
            return False
        if known is None and any(path.startswith(f"{self.scope.peek()}.") for path in self.journal.entries):
            return False
        return bool(self.mark(PATCH, name, lambda call: True))


def unvisited(stretch: Stretch) -> str | None:
    """A recorded step that the code did not come to, though it has ended."""
    entries = stretch.journal.entries.values()
    left = [e for e in entries if ":" not in e.path and e.path not in stretch.visited]
    if not left:
        return None
    first = min(left, key=lambda e: replay.place(e.path))
    return (
        f"the code does not fit the record at step {first.path}: recorded is {first.kind} {first.name!r}, "
        "the code ends before it now"
    )
