"""Where in the code a call stands: its place in the function, or in a branch of a gather."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

PATIENCE = 100
"""Calls that are refused before the code that makes them is left for good: `finally` blocks make some."""


class Suspended(BaseException):
    """Leaves the function, or one branch of it: what it waits for has not come."""


class Stopped(BaseException):
    """The code does not fit the record: nothing that it does from here on counts."""


@dataclass
class Scope:
    """A function or a branch: it counts its calls, and those that were refused."""

    prefix: str = ""
    count: int = 0
    suspended: bool = False
    refused: int = 0

    @property
    def here(self) -> str:
        """The path of the last call."""
        return f"{self.prefix}{self.count}"

    @property
    def out_of_patience(self) -> bool:
        """Whether exceptions do not end this code."""
        return self.refused >= PATIENCE

    def next(self) -> str:
        """The path of the next call."""
        self.count += 1
        return self.here

    def peek(self) -> str:
        """The path that the next call will have."""
        return f"{self.prefix}{self.count + 1}"

    def refuse(self, error: BaseException) -> NoReturn:
        """Answer a call with what is to end the code that makes it."""
        self.refused += 1
        raise error

    def branch(self, path: str, index: int) -> "Scope":
        """One branch of a gather."""
        return Scope(f"{path}.{index + 1}.")


def is_leaving(handled: BaseException | None) -> bool:
    """Whether Suspended is on its way out, by the exception that is handled where a call is made; else somebody has
    swallowed it."""
    while handled is not None and not isinstance(handled, Suspended):
        handled = handled.__context__
    return handled is not None


def last_places(paths: Iterable[str]) -> dict[str, int]:
    """Of each function and branch the last place where something is recorded."""
    last: dict[str, int] = {}
    for path in paths:
        prefix = ""
        for number in path.partition(":")[0].split("."):
            last[prefix] = max(last.get(prefix, 0), int(number))
            prefix += f"{number}."
    return last
