"""A call of a saga that was made and waits to be awaited: one that never is, is a mistake that would pass unseen."""

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Promise(Coroutine[Any, Any, Any]):
    """The coroutine of a call; it counts as made until it is awaited, run as a task, or closed."""

    __slots__ = ("__weakref__", "_coroutine", "_kind", "_made", "_what")

    def __init__(self, made: "dict[Promise, None]", coroutine: Coroutine[Any, Any, Any], kind: str, what: Any) -> None:
        self._made, self._coroutine, self._kind, self._what = made, coroutine, kind, what
        made[self] = None

    def __str__(self) -> str:
        """The call as people know it: `step pay`, `wait_signal packed`, `gather`."""
        named = getattr(self._what, "name", None) or getattr(self._what, "__qualname__", self._what)
        return self._kind if self._kind == "gather" else f"{self._kind} {str(named).rpartition('<locals>.')[2]}"

    def __await__(self) -> Generator[Any, Any, Any]:
        """As the coroutine's."""
        self._made.pop(self, None)
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """As the coroutine's."""
        self._made.pop(self, None)
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """As the coroutine's."""
        self._made.pop(self, None)
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """As the coroutine's: nobody wants it any more."""
        self._made.pop(self, None)
        self._coroutine.close()


def promised(method: F) -> F:
    """A method of a Saga whose calls are noticed when nobody awaits them."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Promise:
        what = args[0] if args else next(iter(kwargs.values()), "")
        coroutine = self._stretch.halt() if self._stretch.hopeless else method(self, *args, **kwargs)
        return Promise(self._stretch.made, coroutine, method.__name__, what)

    return cast("F", call)
