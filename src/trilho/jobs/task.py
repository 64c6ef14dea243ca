"""The task class with types, and what stands between stored arguments and a body."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints

import celery

from trilho.db.transaction import AsyncTx, Tx, installed
from trilho.errors import PermanentError
from trilho.jobs.attempt import running
from trilho.jobs.codec import decoder_for
from trilho.jobs.coroutines import as_body
from trilho.jobs.result import Result
from trilho.jobs.settlement import SAGA
from trilho.jobs.unique import Unique

if TYPE_CHECKING:
    from trilho.app import Trilho

P = ParamSpec("P")
R = TypeVar("R")

Body = Callable[..., Any]


class Task(celery.Task, Generic[P, R]):  # type: ignore[misc]
    """A Celery task whose `.delay()` is typed and durable."""

    app: "Trilho"
    name: str
    Request = "trilho.worker.request:JobRequest"
    transactional = False
    max_crashes: int | None = None
    unique: Unique | bool | None = None

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run the body here and now."""
            ...

        def delay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
            """Enqueue: in the ambient transaction, or durably at once."""
            ...

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Result[R]:
            """Enqueue with Celery's options (`countdown`, `eta`, `expires`, `queue`, `priority`, `task_id`, …)."""
            ...

        def s(self, *args: Any, **kwargs: Any) -> Any:
            """A signature, for chains, groups and chords."""
            ...

        def si(self, *args: Any, **kwargs: Any) -> Any:
            """A signature that takes nothing from the step before it."""
            ...

    def on_replace(self, sig: Any) -> Any:
        """As Celery's; raises PermanentError in a step of a saga, which would not hear of the other job's end."""
        attempt = running()
        if attempt is not None and SAGA in attempt.job.headers:
            raise PermanentError(f"{self.name} is a step of a saga: it cannot replace itself, make both steps")
        return super().on_replace(sig)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """As `delay`, without blocking the event loop."""
        return await self.app.without_blocking(self.apply_async, args, kwargs)

    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Result[R]:
        """As `apply_async`, without blocking the event loop."""
        return await self.app.without_blocking(functools.partial(self.apply_async, **options), args, kwargs)


def mixed(base: type) -> type:
    """The base class of a task, with what Trilho's own has beside."""
    if issubclass(base, Task):
        return base
    return type(base.__name__, (base, Task), {"__module__": base.__module__, "abstract": True})


def adapted(app: "Trilho", function: Body, bind: bool, transactional: bool) -> Body:
    """The body as Celery is to call it: with rich arguments decoded, the transaction handed in, a coroutine run."""
    is_async = inspect.iscoroutinefunction(function)
    decode = decoder_for(function, skip_first=bind)
    if transactional:
        function = _in_transaction(app, function, tx_parameter(function), is_async)
    if decode is not None:
        function = _decoding(function, decode, bind)
    return as_body(lambda: app.coroutines, function, is_async)


def _decoding(function: Body, decode: Callable[..., Any], bind: bool) -> Body:
    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        own, given = args[: int(bind)], args[int(bind) :]
        positional, kwargs = decode(given, kwargs)
        return function(*own, *positional, **kwargs)

    return body


def tx_parameter(function: Body) -> str | None:
    """The name of the parameter annotated `Tx`; raises TypeError for an `AsyncTx`."""
    hints = get_type_hints(function)
    names = list(inspect.signature(function).parameters)
    if any(hints.get(name) is AsyncTx for name in names):
        raise TypeError(
            f"{function.__qualname__}: transactional=True hands in a `Tx`, to an `async def` too, for the end of the "
            "job is written on its connection; for an AsyncTx open `async with app.atransaction()` in the body"
        )
    return next((name for name in names if hints.get(name) is Tx), None)


def _in_transaction(app: "Trilho", function: Body, tx_name: str | None, is_async: bool) -> Body:
    def given(tx: Tx) -> dict[str, Tx]:
        return {tx_name: tx} if tx_name else {}

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        with _transaction_of_body(app) as tx:
            return function(*args, **kwargs, **given(tx))

    @functools.wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with _transaction_of_body(app) as tx:
            return await function(*args, **kwargs, **given(tx))

    chosen: Any = coroutine if is_async else body
    signature = inspect.signature(function)
    left = [parameter for parameter in signature.parameters.values() if parameter.name != tx_name]
    chosen.__signature__ = signature.replace(parameters=left)
    wrapped: Body = chosen
    return wrapped


@contextmanager
def _transaction_of_body(app: "Trilho") -> Iterator[Tx]:
    attempt = running()
    if attempt is None or attempt.tx is None:  # called directly, outside a worker
        with app.transaction() as tx:
            yield tx
            tx.flush()
        return
    # Only the body sees the transaction: what a failure handler enqueues must outlive the rollback.
    with attempt.tx.lent(), installed(attempt.tx):
        yield attempt.tx
        attempt.tx.flush()  # so that a constraint that fails is the body's own error
