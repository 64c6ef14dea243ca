"""Figures of many rounds: medians, spreads, and ratios that are taken within a round."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Figures = Mapping[str, float]


T = TypeVar("T")


def in_turns(items: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each item once in each round, with the round's number.

    Who goes first changes, so that a machine that grows slower favours nobody.
    """
    for number in range(rounds):
        for item in items if number % 2 == 0 else reversed(items):
            yield number + 1, item


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies; the nearest one, nothing made up between two."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Summary:
    """Median, least and greatest of some values."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Rounds:
    """The figures of all stacks, round by round. Machines vary from minute to minute: compare within a round."""

    of_stack: dict[str, list[Figures]] = field(default_factory=lambda: defaultdict(list))

    def add(self, stack: str, figures: Figures) -> None:
        """Keep what one visit to a stack has measured."""
        self.of_stack[stack].append(figures)

    def summary(self, stack: str, key: str) -> Summary | None:
        """One figure over all rounds; None if this stack has none."""
        values = [figures[key] for figures in self.of_stack[stack] if key in figures]
        return Summary.of(values) if values else None

    def ratio(self, key: str, ours: str = "trilho", theirs: str = "celery") -> Summary | None:
        """Ours / theirs in each round."""
        pairs = zip(self.of_stack[ours], self.of_stack[theirs], strict=False)
        ratios = [mine[key] / other[key] for mine, other in pairs if other.get(key) and key in mine]
        return Summary.of(ratios) if ratios else None
