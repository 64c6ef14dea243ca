"""Where in the code a call stands: its place in the function, or in a branch of a gather."""

from collections.abc import Iterable
from dataclasses import dataclass


class Suspended(BaseException):
    """Leaves the function, or one branch of it: what it waits for has not come."""


@dataclass
class Scope:
    """A function or a branch: it counts its calls."""

    prefix: str = ""
    count: int = 0
    suspended: bool = False

    def next(self) -> str:
        """The path of the next call; raises Suspended in a branch that is being left."""
        self.refuse_while_leaving()
        self.count += 1
        return f"{self.prefix}{self.count}"

    def peek(self) -> str:
        """The path that the next call will have."""
        return f"{self.prefix}{self.count + 1}"

    def refuse_while_leaving(self) -> None:
        """Calls in `finally` blocks belong to another stretch."""
        if self.suspended:
            raise Suspended

    def branch(self, path: str, index: int) -> "Scope":
        """One branch of a gather."""
        return Scope(f"{path}.{index + 1}.")


def last_places(paths: Iterable[str]) -> dict[str, int]:
    """Of each function and branch the last place where something is recorded."""
    last: dict[str, int] = {}
    for path in paths:
        prefix = ""
        for number in path.partition(":")[0].split("."):
            last[prefix] = max(last.get(prefix, 0), int(number))
            prefix += f"{number}."
    return last
