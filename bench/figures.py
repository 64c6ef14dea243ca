"""Figures of many rounds: medians, spreads, and ratios that are taken within a round."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.apps import Stack

Figures = Mapping[str, float]


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
    """The figures of both stacks, round by round. Machines vary from minute to minute: compare within a round."""

    of_stack: dict[Stack, list[Figures]] = field(default_factory=lambda: {"celery": [], "trilho": []})

    def add(self, stack: Stack, figures: Figures) -> None:
        """Keep what one visit to a stack has measured."""
        self.of_stack[stack].append(figures)

    def summary(self, stack: Stack, key: str) -> Summary | None:
        """One figure over all rounds; None if this stack has none."""
        values = [figures[key] for figures in self.of_stack[stack] if key in figures]
        return Summary.of(values) if values else None

    def ratio(self, key: str) -> Summary | None:
        """Trilho / Celery in each round."""
        pairs = zip(self.of_stack["trilho"], self.of_stack["celery"], strict=False)
        ratios = [trilho[key] / celery[key] for trilho, celery in pairs if celery.get(key) and key in trilho]
        return Summary.of(ratios) if ratios else None
