"""The types of what `app.saga(...)` with options returns."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, TypeVarTuple

from trilho.sagas.definition import SagaDefinition
from trilho.sagas.saga import Saga

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class SagaDecorator(Protocol):
    """Makes an async function that takes a Saga first a saga."""

    def __call__(self, function: Callable[[Saga, *Ts], Coroutine[Any, Any, R]], /) -> SagaDefinition[R, *Ts]:
        """The saga."""
        ...
