"""`Saga`: what a saga function gets as its first argument, and makes its calls on."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload
from uuid import UUID, uuid5

from pydantic import TypeAdapter

from trilho.db.transaction import Tx
from trilho.events.retry import Retry
from trilho.jobs.task import Task
from trilho.log import get_logger
from trilho.sagas import record
from trilho.sagas.bodies import Body
from trilho.sagas.definition import LONGEST_TIMEOUT, SagaDefinition
from trilho.sagas.promise import promised
from trilho.sagas.shape import IdempotencyKey, undo_call
from trilho.sagas.stretch import Stretch, Undoing

R = TypeVar("R")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Ts = TypeVarTuple("Ts")

_NAMESPACE = UUID("7b1f6f0e-5a3b-4b53-9f0c-6c8d1f0c7a11")


class Log:
    """A logger that says nothing while what it says has been said already."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        run = stretch.journal.run
        self._log = get_logger("trilho.saga").bind(saga=run.id, saga_name=run.name)

    def __getattr__(self, level: str) -> Any:
        """`debug`, `info`, `warning`, `error`, … as structlog has them."""
        return getattr(self._log, level) if not self._stretch.replaying else _silent


def _silent(*_: Any, **__: Any) -> None:
    pass


class Saga:
    """One run, as its function sees it. Every call is recorded; what is recorded is given back when it is replayed.

    The function may be played many times: whatever it does besides these calls has to come out the same.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self.log = Log(stretch)

    @property
    def id(self) -> str:
        """The id of this run."""
        return self._stretch.journal.run.id

    @property
    def version(self) -> int:
        """The version of the code that this run was started with."""
        return self._stretch.journal.run.version

    @property
    def replaying(self) -> bool:
        """Whether what happens now has happened before."""
        return self._stretch.replaying

    # ---- steps

    if TYPE_CHECKING:

        @overload
        async def step(
            self,
            function: Task[[*Ts], R],  # type: ignore[valid-type]  # mypy knows no *Ts as a ParamSpec
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        @overload
        async def step(
            self,
            function: Callable[[*Ts], Coroutine[Any, Any, R]],
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        @overload
        async def step(
            self,
            function: Callable[[*Ts, Tx], Coroutine[Any, Any, R]],
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        @overload
        async def step(
            self,
            function: Callable[[*Ts], R],
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        @overload
        async def step(
            self,
            function: Callable[[*Ts, Tx], R],
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        @overload
        async def step(
            self,
            function: Callable[[*Ts, IdempotencyKey], R],
            *args: *Ts,
            undo: Callable[..., Any] | None = None,
            retry: Retry | None = None,
            timeout: float | timedelta | None = None,
        ) -> R: ...
        async def step(self, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy compares *Ts with no *Any
            """Run a task on its queue, or a function right here, once.

            A function may take `tx: Tx` after its arguments, and what it writes there and its record are one commit; or
            an `IdempotencyKey`. The undo gets the step's arguments, and `result` if it has that parameter.
            `timeout`, in seconds, is for each attempt, of a task from when it is put into its queue; an attempt that
            takes longer has failed, and is followed by another one as `retry` has it. Raises what the step raised when
            no other attempt follows, SagaTimeout, SagaLimit; TypeError for arguments that do not fit the step or its
            undo, or cannot be stored.
            """
            ...
    else:

        @promised
        async def step(self, function, *args, undo=None, retry=None, timeout=None):
            """Run a task on its queue, or a function right here, once."""
            stretch = self._stretch
            options, sagas = stretch.definition.options, stretch.journal.app.sagas
            shape = sagas.shape(function)
            shape.bound(args)
            if timeout is not None and shape.task is None and not shape.is_async:
                raise TypeError(f"step {shape.name}: timeout= needs a task or an `async def`, others cannot be ended")
            if not isinstance(retry, Retry | None):
                raise TypeError(
                    f"step {shape.name}: retry= must be a Retry(attempts=..., delay=...), not {retry!r:.80}"
                )
            body = Body(shape, args, {}, retry or options.retry, _limit(f"step {shape.name}: timeout=", timeout))
            if undo is None:
                return await stretch.step(body, None)
            undoing = sagas.shape(undo)
            positional, named, wants_result = undo_call(shape, undoing, args)
            undo_body = Body(undoing, positional, named, options.retry)
            return await stretch.step(body, Undoing(undo_body, wants_result, shape))

    @overload
    async def gather(self, one: Awaitable[T1], two: Awaitable[T2], /) -> tuple[T1, T2]: ...
    @overload
    async def gather(self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], /) -> tuple[T1, T2, T3]: ...
    @overload
    async def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], four: Awaitable[T4], /
    ) -> tuple[T1, T2, T3, T4]: ...
    @overload
    async def gather(self, *branches: Awaitable[R]) -> tuple[R, ...]: ...
    @promised
    async def gather(self, *branches: Awaitable[Any]) -> tuple[Any, ...]:
        """Go on with several steps or coroutines at once: tasks run in parallel, functions take turns.

        All come to their end, then their results are returned, or the first error is raised. Undone in the reverse
        order of their completion.
        """
        return tuple(await self._stretch.gather(branches))

    @promised
    async def call(self, other: SagaDefinition[R, *Ts], *args: *Ts, id: str | None = None) -> R:  # noqa: A002
        """Run another saga and wait for its result; when this run is undone, so is that one.

        Raises what the other one failed with, once it is undone; TypeError for what is no saga.
        """
        if not isinstance(other, SagaDefinition):
            raise TypeError(f"saga.call takes a saga made by @app.saga, not {other!r}; for a function use saga.step()")
        result: R = self._stretch.call(other, args, id)
        return result

    # ---- waiting

    @promised
    async def sleep(self, seconds: float | timedelta) -> None:
        """Wait, for as long as you like: a suspended run costs nothing."""
        self._stretch.sleep(_seconds("saga.sleep()", seconds))

    @overload
    async def wait_signal(self, name: str, *, timeout: float | timedelta | None = None) -> Any: ...
    @overload
    async def wait_signal(self, name: str, *, timeout: float | timedelta | None = None, into: type[R]) -> R: ...
    @promised
    async def wait_signal(self, name: str, *, timeout: float | timedelta | None = None, into: Any = None) -> Any:
        """The data of the next signal of this name, also of one that came before; raises SagaTimeout."""
        return _into(into, self._stretch.wait_signal(name, _limit("wait_signal: timeout=", timeout)))

    @overload
    async def wait_event(self, topic: str, *, key: Any, timeout: float | timedelta | None = None) -> Any: ...
    @overload
    async def wait_event(
        self, topic: str, *, key: Any, timeout: float | timedelta | None = None, into: type[R]
    ) -> R: ...
    @promised
    async def wait_event(
        self, topic: str, *, key: Any, timeout: float | timedelta | None = None, into: Any = None
    ) -> Any:
        """The data of the next event of this key, also of one published since the run began; raises SagaTimeout.

        The topic has to be among the saga's `events=`.
        """
        return _into(into, self._stretch.wait_event(topic, key, _limit("wait_event: timeout=", timeout)))

    # ---- values that are made once

    def now(self) -> datetime:
        """The time, as it was when the function came here first; in UTC."""
        text = self._stretch.mark(record.NOW, "now", lambda _: self._stretch.journal.now().isoformat())
        return datetime.fromisoformat(text)

    def uuid(self) -> UUID:
        """A UUID of this place in this run."""
        made = self._stretch.mark(record.UUID, "uuid", lambda call: str(uuid5(_NAMESPACE, f"{self.id}/{call.path}")))
        return UUID(made)

    def patched(self, name: str) -> bool:
        """Whether to take the new way of a change: False for runs that went on behind this place before the change."""
        return self._stretch.patched(name)


def _limit(what: str, time: float | timedelta | None) -> float | None:
    return None if time is None else _seconds(what, time)


def _seconds(what: str, time: float | timedelta) -> float:
    """Raises TypeError for what is no time, ValueError for one that no clock reaches."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what} takes seconds or a timedelta, not {time!r:.80}")
    if not seconds <= LONGEST_TIMEOUT:
        raise ValueError(f"{what} takes seconds or a timedelta, of a hundred years at most, not {time!r:.80}")
    return max(0.0, seconds)


def _into(wanted: Any, value: Any) -> Any:
    return value if wanted is None else TypeAdapter(wanted).validate_python(value)
