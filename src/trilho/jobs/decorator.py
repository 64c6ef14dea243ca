"""The types of what `app.task(...)` returns: the result of an `async def` is what awaiting it gives."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from trilho.jobs.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class PlainTask(Protocol):
    """The decorator for a function that is called with the arguments of the job."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class BoundTask(Protocol):
    """The decorator for a function that gets the task first."""

    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


class TransactionalTask(Protocol):
    """The decorator for a function that gets a transaction, which callers do not see."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, R]], /) -> Task[..., R]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> Task[..., R]: ...
