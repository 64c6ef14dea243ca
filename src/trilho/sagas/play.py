"""Playing a saga function, so that it can be left for good: no exception ends code that swallows every one."""

from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any

from trilho.sagas.scope import Stopped

HALT = object()
"""What a call gives to the player that nothing shall come back to."""


@coroutine
def played(function: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await the coroutine of a function; raises Stopped where one of its calls has halted."""
    turn: Callable[[], Any] = partial(function.send, None)
    while True:
        try:
            waited = turn()
        except StopIteration as end:
            return end.value
        if waited is HALT:
            with suppress(Exception):  # it may swallow this, too
                function.close()
            raise Stopped
        try:
            turn = partial(function.send, (yield waited))
        except GeneratorExit:
            function.close()
            raise
        except BaseException as error:
            turn = partial(function.throw, error)


async def halted() -> None:
    """A call that does not return."""
    await _halt()


@coroutine
def _halt() -> Generator[Any, Any, None]:
    yield HALT
