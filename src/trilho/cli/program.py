"""A program that the supervisor runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

MARK = "TRILHO_SUPERVISED_BY"
"""Environment variable that every descendant of a stack carries: the path of its data folder."""


@dataclass(frozen=True)
class Program:
    """What to run: a name that is unique in the stack, a kind, and the arguments."""

    kind: str
    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def python(*arguments: str) -> tuple[str, ...]:
    """A module run by this interpreter, so that it is the same installation whatever PATH says."""
    return (sys.executable, "-m", *arguments)
