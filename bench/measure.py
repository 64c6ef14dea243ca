"""What is measured, and how good the figures have to be."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["more", "less"]

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Measure:
    """One line of the table; `asked` is the ratio Trilho / Celery that is wanted at least, or, for `less`, at most."""

    key: str
    title: str
    unit: str
    better: Better = "more"
    asked: float | None = None

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is as good as asked."""
        if self.asked is None:
            return True
        return ratio >= self.asked if self.better == "more" else ratio <= self.asked

    def wanted(self) -> str:
        """The asked ratio in words."""
        if self.asked is None:
            return ""
        return f"{'≥' if self.better == 'more' else '≤'} {self.asked:g}{TIMES}"


MEASURES = (
    Measure("delay", "`.delay()` with its own commit", "jobs/s", asked=1.3),
    Measure("delay_in_1", "`.delay()` inside the caller's transaction, one in each", "jobs/s", asked=1.3),
    Measure("delay_in_20", "the same, 20 in each", "jobs/s", asked=3.0),
    Measure("request", "save a row and enqueue one job, all in all", "requests/s"),
    Measure("many", "`enqueue_many`, 1,000 in one call", "jobs/s"),
    Measure("drain", "drain", "jobs/s", asked=7.0),
    Measure("drain_events", "drain with task events on (`-E`)", "jobs/s", asked=9.0),
    Measure("p50", "idle end to end, `.delay().get()`, p50", "ms", "less", asked=1.1),
    Measure("p90", "the same, p90", "ms", "less"),
)
