"""The time axis of a page: where a moment stands on it, and which moments are named. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from trilho.dashboard.operation import Operation, Span

SHORTEST = 0.001
NARROWEST = 0.35
"""Per cent; what is shorter would not be seen."""
MOST_TICKS = 6
_STEPS = (
    *(base * 10.0**power for power in range(-3, 1) for base in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A span on the axis, in per cent; without a width it is a point."""

    left: float
    width: float
    span: Span


@dataclass(frozen=True, slots=True)
class Tick:
    """A named moment."""

    left: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From the first moment of an operation to its last."""

    start: datetime
    seconds: float

    @classmethod
    def of(cls, operation: Operation) -> "Axis":
        """The axis of an operation; one that is live goes on until now."""
        start = operation.start or operation.now
        end = operation.now if operation.state == "running" else operation.end or operation.now
        return cls(start, max(SHORTEST, (end - start).total_seconds()))

    def left(self, when: datetime) -> float:
        """Per cent from the left; never outside of the axis."""
        return round(min(100.0, max(0.0, 100 * (when - self.start).total_seconds() / self.seconds)), 3)

    def bar(self, span: Span) -> Bar:
        """Where a span stands; what lasts still reaches the right end."""
        left = self.left(span.start)
        if span.end == span.start:
            return Bar(left, 0.0, span)
        right = 100.0 if span.end is None else self.left(span.end)
        width = max(NARROWEST, round(right - left, 3))
        return Bar(min(left, 100 - width), width, span)

    def ticks(self) -> Iterator[Tick]:
        """Round moments, at most six beside the beginning."""
        step = next((step for step in _STEPS if self.seconds / step <= MOST_TICKS), self.seconds)
        for number in range(int(self.seconds / step) + 1):
            yield Tick(round(100 * number * step / self.seconds, 3), duration(number * step))


def duration(seconds: float) -> str:
    """A time span in words: 0, 12 ms, 1.5 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds >= 0.0005 else "0"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size - part / 2:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
    return f"{seconds:.0f} s"
