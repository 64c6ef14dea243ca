"""`make bench`: Trilho beside others on the same servers, in turns; prints markdown tables.

Only the ratios of one run mean something: machines differ, and so do minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import jobs
from bench.events import report as events
from bench.sagas import report as sagas
from bench.visit import Load


class Part(StrEnum):
    """What can be measured by itself."""

    JOBS = "jobs"
    EVENTS = "events"
    AGED = "aged"
    SAGAS = "sagas"
    SCALE = "scale"


RESULTS = {part: "results.md" if part is Part.JOBS else f"{part}.md" for part in Part}


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    jobs: int
    events: int
    sagas: int


USUAL, QUICK = Size(5, 1000, 40_000, 100), Size(1, 300, 4000, 20)

OnlyOption = Annotated[list[Part] | None, typer.Option("--only", help="This part alone; may be repeated. [all]")]
RoundsOption = Annotated[
    int | None, typer.Option("--rounds", min=1, help="Rounds; the median needs five, PgQueuer two. [5]")
]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=20, help="Jobs of each figure. [1000]")]
EventsOption = Annotated[int | None, typer.Option("--events", min=1000, help="Events of each figure. [40000]")]
QuickOption = Annotated[bool, typer.Option("--quick", help="A minute or two, to see that it works.")]
RowsOption = Annotated[int, typer.Option("--rows", min=0, help="Also /queue/stats with so many rows, such as 1000000.")]
FinishedOption = Annotated[int, typer.Option("--finished", min=0, help="Finished jobs of an aged database.")]
SaveOption = Annotated[bool, typer.Option("--save", help=f"Write {', '.join(RESULTS.values())} in bench/, too.")]


def main(
    *,
    only: OnlyOption = None,
    rounds: RoundsOption = None,
    job_count: JobsOption = None,
    event_count: EventsOption = None,
    quick: QuickOption = False,
    rows: RowsOption = 0,
    finished: FinishedOption = 1_000_000,
    save: SaveOption = False,
) -> None:
    """Measure Trilho beside Celery, its events beside FastStream, its sagas beside DBOS; print the tables."""
    usual = QUICK if quick else USUAL
    size = Size(rounds or usual.rounds, job_count or usual.jobs, event_count or usual.events, usual.sagas)
    load = Load(size.rounds, size.jobs)
    reports: dict[Part, Callable[[], list[str]]] = {
        Part.JOBS: lambda: jobs.report(load, rows),
        Part.EVENTS: lambda: events.report(size.rounds, size.events),
        Part.AGED: lambda: [*jobs.report_aged(load, finished), "", *events.report_aged(size.events)],
        Part.SAGAS: lambda: sagas.report(size.rounds, size.sagas),
        Part.SCALE: lambda: jobs.report_scale(load),
    }
    for part in only or Part:
        text = "\n".join(reports[part]()) + "\n"
        print(text, flush=True)
        if save:
            Path(__file__).with_name(RESULTS[part]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
