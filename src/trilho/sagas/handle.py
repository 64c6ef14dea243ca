"""The handle of a run: what callers see of it and do to it."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import uuid4

from trilho.db.text import checked
from trilho.db.wakeups import Bell
from trilho.errors import SagaFailed, SagaStuck, UnknownSaga
from trilho.jobs import codec
from trilho.sagas import steering, store
from trilho.sagas.failure import exception_of
from trilho.sagas.record import COMPENSATED, LONGEST_NAME, STUCK
from trilho.sagas.start import NewSignal
from trilho.sagas.view import SagaRun, SagaStep

if TYPE_CHECKING:
    from trilho.app import Trilho
    from trilho.sagas.definition import SagaDefinition

R = TypeVar("R")


class SagaHandle(Generic[R]):
    """One run; may be awaited, harmlessly, so that one name serves sync and async code."""

    def __init__(
        self,
        app: "Trilho",
        saga_id: str,
        definition: "SagaDefinition[R, *tuple[Any, ...]] | None" = None,
        bell: Bell | None = None,
    ) -> None:
        self._app = app
        self.id = saga_id
        self._definition = definition
        self._bell = bell

    def __await__(self) -> Generator[Any, None, "SagaHandle[R]"]:
        """The handle itself."""
        return self
        yield

    def __repr__(self) -> str:
        return f"<SagaHandle {self.id}>"

    # ---- looking

    def run(self) -> SagaRun:
        """The run as it is now; raises UnknownSaga."""
        found = self._app.database.run(store.view, self.id)
        if found is None:
            raise UnknownSaga(self.id)
        return found

    @property
    def state(self) -> str:
        """RUNNING, WAITING, COMPENSATING, COMPLETED, COMPENSATED or STUCK; raises UnknownSaga."""
        return self.run().state

    def history(self) -> list[SagaStep]:
        """Everything recorded, in the order of its beginning; raises UnknownSaga."""
        found = self._app.database.run(store.history, self.id)
        if not found:
            self.run()
        return found

    def get(self, timeout: float | None = None) -> R:
        """Wait for the end, `timeout` in seconds; the result.

        Raises SagaFailed when it was undone, SagaStuck when it waits for a person, UnknownSaga, TimeoutError.
        """
        bell, self._bell = self._bell, None  # it rings once
        return self._result(self._app.saga_lines.waiter.wait(self.id, timeout, bell))

    def _result(self, run: SagaRun) -> R:
        if run.state == COMPENSATED:
            told = run.error or str(run.verdict)
            raise SagaFailed(run.id, told) from exception_of(run.failure, told)
        if run.state == STUCK:
            raise SagaStuck(run.id, str(run.stuck))
        if self._definition is None:
            value: R = run.result
            return value
        return self._definition.result(codec.dumps(run.result))  # type: ignore[no-any-return]

    # ---- steering

    def signal(self, name: str, data: Any = None, *, message_id: str | None = None) -> None:
        """Tell the run something, which `wait_signal` gives it; with the ambient transaction.

        The same `message_id` twice is one signal. Raises UnknownSaga, SagaStateError for a finished run, TypeError,
        ValueError for a name or an id that cannot be stored.
        """
        self._app.sagas.signal(self._signal(name, data, message_id))

    def _signal(self, name: str, data: Any, message_id: str | None) -> NewSignal:
        checked("the name of a signal", name, LONGEST_NAME)
        message_id = checked("message_id=", message_id or str(uuid4()), LONGEST_NAME)
        return NewSignal(self.id, name, message_id, self._dumped(f"the data of signal {name!r}", data))

    def _dumped(self, what: str, value: Any) -> str:
        return codec.dump_value(what, value, self._app.settings.max_payload)

    def cancel(self) -> SagaRun:
        """Undo what was done; once this returns, the run cannot complete. Raises UnknownSaga, SagaStateError."""
        steering.cancel(self._app, self.id)
        return self.run()

    def retry(self) -> SagaRun:
        """Let a STUCK run go on: what gave up gets a fresh budget of attempts. Raises UnknownSaga, SagaStateError."""
        steering.retry(self._app, self.id)
        return self.run()

    def skip(self, step: str | int, result: Any = None) -> SagaRun:
        """Settle a step, wait or undo that does not come to its end by itself: it counts as done, with this result.

        `step` is its number as in `history()`. A job of it that waits for a worker is revoked. Raises UnknownSaga,
        SagaStateError where the step has ended, has not begun, or runs just now, ValueError for what is no number,
        TypeError for a result that cannot be stored, PayloadTooLarge.
        """
        path = checked("step", str(step), LONGEST_NAME)
        steering.skip(self._app, self.id, path, self._dumped(f"the result of step {path}", result))
        return self.run()

    # ---- the same for asyncio

    async def arun(self) -> SagaRun:
        """As `run`, without blocking the event loop."""
        return await self._app.without_blocking(self.run)

    async def ahistory(self) -> list[SagaStep]:
        """As `history`, without blocking the event loop."""
        return await self._app.without_blocking(self.history)

    async def aget(self, timeout: float | None = None) -> R:
        """As `get`, without blocking the event loop."""
        return await self._app.without_blocking(self.get, timeout)

    async def asignal(self, name: str, data: Any = None, *, message_id: str | None = None) -> None:
        """As `signal`, without blocking the event loop."""
        await self._app.without_blocking(self._app.sagas.signal, self._signal(name, data, message_id))

    async def acancel(self) -> SagaRun:
        """As `cancel`, without blocking the event loop."""
        return await self._app.without_blocking(self.cancel)

    async def aretry(self) -> SagaRun:
        """As `retry`, without blocking the event loop."""
        return await self._app.without_blocking(self.retry)

    async def askip(self, step: str | int, result: Any = None) -> SagaRun:
        """As `skip`, without blocking the event loop."""
        return await self._app.without_blocking(self.skip, step, result)
