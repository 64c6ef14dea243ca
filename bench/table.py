"""The figures as markdown."""

from collections.abc import Callable, Iterable, Sequence

from bench.apps import STACKS
from bench.counting import Counts
from bench.cpu import GROUPS
from bench.figures import Rounds, Summary
from bench.measure import MEASURES, TIMES, Measure

TITLES = {"celery": "Celery", "trilho": "Trilho"}


def comparison(rounds: Rounds) -> list[str]:
    """Medians with spreads, and the ratio Trilho / Celery as the median of the rounds."""
    rows = [_compared(measure, rounds) for measure in MEASURES]
    return markdown(("", "Celery", "Trilho", "Trilho / Celery", "asked"), rows)


def _compared(measure: Measure, rounds: Rounds) -> Sequence[str]:
    celery, trilho = (rounds.summary(stack, measure.key) for stack in STACKS)
    ratio = rounds.ratio(measure.key)
    assert celery is not None
    assert trilho is not None
    assert ratio is not None
    asked = measure.wanted()
    if asked and not measure.reached(ratio.median):
        asked += ", **missed**"
    title = f"{measure.title} [{measure.unit}{', less is better' if measure.better == 'less' else ''}]"
    compared = f"**{factor(ratio.median)}** {_range(ratio, factor)}"
    return (title, compact(celery, number), compact(trilho, number), compared, asked)


def processor_time(rounds: Rounds) -> list[str]:
    """Microseconds per job of each group of processes, medians."""
    rows = []
    for what, groups in (
        ("delay", ("caller", "postgres", "valkey")),
        ("drain", ("main", "pool", "postgres", "valkey")),
    ):
        title = {"delay": "`.delay()` with its own commit", "drain": "drain"}[what]
        for stack in STACKS:
            values = {group: rounds.summary(stack, f"{what}/{group}") for group in groups}
            medians = {group: value.median for group, value in values.items() if value is not None}
            cells = [number(medians[group]) if group in medians else "" for group in GROUPS]
            rows.append((f"{title}, {TITLES[stack]}", *cells, number(sum(medians.values()))))
    return markdown(("µs of CPU time per job", *GROUPS.values(), "sum"), rows)


def counted(counts: Counts) -> list[str]:
    """Round trips and commits per job."""
    titles = list(dict.fromkeys(title for title, _ in counts))
    rows = [
        (
            title,
            *(f"{counts[title, stack].broker:.2f}" for stack in STACKS),
            f"{counts[title, 'trilho'].postgres:.2f}",
            f"{counts[title, 'trilho'].commits:.2f}",
        )
        for title in titles
    ]
    head = ("per job", "Celery: Redis", "Trilho: Redis", "Trilho: PostgreSQL", "Trilho: writing commits")
    return markdown(head, [tuple(cell.replace("-0.00", "0.00") for cell in row) for row in rows])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; all columns but the first are numbers."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return [f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines]


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def factor(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}{TIMES}"


def compact(summary: Summary, show: Callable[[float], str]) -> str:
    """Median, and the spread where there is one."""
    return f"{show(summary.median)} {_range(summary, show)}"


def _range(summary: Summary, show: Callable[[float], str]) -> str:
    return f"({show(summary.least)} to {show(summary.greatest)})" if summary.greatest > summary.least else ""
