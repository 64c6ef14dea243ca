"""The task class with types, and what stands between stored arguments and a body."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints

import celery

from trilho.db.transaction import Tx, installed
from trilho.jobs.attempt import running
from trilho.jobs.codec import decoder_for
from trilho.jobs.result import Result

if TYPE_CHECKING:
    from trilho.app import Trilho

P = ParamSpec("P")
R = TypeVar("R")


class Task(celery.Task, Generic[P, R]):  # type: ignore[misc]
    """A Celery task whose `.delay()` is typed and durable."""

    app: "Trilho"
    name: str
    Request = "trilho.worker.request:JobRequest"
    transactional = False
    max_crashes: int | None = None

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


def adapted(app: "Trilho", function: Callable[..., Any], bind: bool, transactional: bool) -> Callable[..., Any]:
    """The body as Celery is to call it: with rich arguments decoded and the transaction handed in."""
    decode = decoder_for(function, skip_first=bind)
    tx_name = tx_parameter(function) if transactional else None
    if transactional:
        function = _in_transaction(app, function, tx_name)
    if decode is None and not transactional:
        return function

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        own, given = args[: int(bind)], args[int(bind) :]
        if decode is not None:
            positional, kwargs = decode(given, kwargs)
            given = tuple(positional)
        return function(*own, *given, **kwargs)

    body.__signature__ = _without(function, tx_name)  # type: ignore[attr-defined]
    return body


def tx_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the parameter annotated `Tx`."""
    hints = get_type_hints(function)
    return next((name for name in inspect.signature(function).parameters if hints.get(name) is Tx), None)


def _without(function: Callable[..., Any], name: str | None) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=[p for p in signature.parameters.values() if p.name != name])


def _in_transaction(app: "Trilho", function: Callable[..., Any], tx_name: str | None) -> Callable[..., Any]:
    def run(tx: Tx, args: Any, kwargs: Any) -> Any:
        result = function(*args, **kwargs, **({tx_name: tx} if tx_name else {}))
        tx.flush()  # so that a constraint that fails is the body's own error
        return result

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        attempt = running()
        if attempt is None or attempt.tx is None:  # called directly, outside a worker
            with app.transaction() as tx:
                return run(tx, args, kwargs)
        # Only the body sees the transaction: what a failure handler enqueues must outlive the rollback.
        with installed(attempt.tx):
            return run(attempt.tx, args, kwargs)

    return body
