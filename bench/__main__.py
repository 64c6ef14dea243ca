"""`make bench`: Trilho beside stock Celery on the same servers, in turns; prints markdown tables.

Only the ratios of one run mean something: machines differ, and so do minutes.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench import counting, depth, history, machine, table
from bench.apps import STACKS
from bench.figures import Rounds
from bench.stand import Stand, stand
from bench.visit import Load, visit

RESULTS = Path(__file__).with_name("results.md")
QUICK = Load(rounds=1, jobs=300)

HOW = """\
Both stacks use the same PostgreSQL and Valkey and the same command line: one worker, prefork, two processes, log level
WARNING, every setting at its default; results are kept. The job does nothing and has 109 bytes of arguments. A round
visits both stacks, in changing order, each on empty queues and tables; cells are medians of {rounds} rounds of {jobs}
jobs with least and greatest, the ratio is the median of the rounds' ratios.

- Enqueue is measured without a worker, and to the end: until the last wake-up has left the process. Inside a
  transaction that saves a row, what the same transaction costs without a job is taken off. Celery has no such thing:
  it commits, then sends. Its `enqueue_many` is `apply_async` with one producer for all.
- Drain: a warm worker is held (`cancel_consumer`) until the backlog is complete, then let go; from the end of the first
  job to the end of the last, by the times that each stack writes into its results.
- CPU time is that of our own processes; PostgreSQL's includes its background work.
- Round trips and commits are counted in a pass of their own, by proxies between client and server: a client that speaks
  after the server spoke is one. Writing commits are transaction ids given out. An idle worker's are taken off."""

RoundsOption = Annotated[int | None, typer.Option("--rounds", min=1, help="Rounds; the median needs five. [5]")]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=20, help="Jobs of each figure. [1000]")]
QuickOption = Annotated[bool, typer.Option("--quick", help="Less than a minute, to see that it works.")]
RowsOption = Annotated[int, typer.Option("--rows", min=0, help="Also /queue/stats with so many rows, such as 1000000.")]
FinishedOption = Annotated[int, typer.Option("--finished", min=0, help="Also the drain beside so many finished jobs.")]
SaveOption = Annotated[bool, typer.Option("--save", help=f"Write bench/{RESULTS.name}, too.")]


def main(
    rounds: RoundsOption = None,
    jobs: JobsOption = None,
    quick: QuickOption = False,
    rows: RowsOption = 0,
    finished: FinishedOption = 0,
    save: SaveOption = False,
) -> None:
    """Measure Trilho beside stock Celery and print the tables."""
    usual = QUICK if quick else Load(rounds=5, jobs=1000)
    load = Load(rounds or usual.rounds, jobs or usual.jobs)
    with stand() as servers:
        lines = report(servers, load, rows, finished)
    text = "\n".join(lines) + "\n"
    print(text)
    if save:
        RESULTS.write_text(text, encoding="utf-8")


def report(servers: Stand, load: Load, rows: int, finished: int) -> list[str]:
    """Every table, with what one has to know to read it."""
    head = ["# Trilho beside Celery", "", *machine.describe(servers), ""]
    rounds = measured(servers, load)
    note("counting round trips")
    counts = counting.count(servers)
    parts = [table.comparison(rounds), table.processor_time(rounds), table.counted(counts)]
    if rows:
        note("asking for statistics")
        parts.append(depth.measure(servers, rows))
    if finished:
        note("draining beside history")
        parts.append(history.measure(servers, finished, load))
    body = [line for part in parts for line in (*part, "")]
    return [*head, *body, HOW.format(rounds=load.rounds, jobs=f"{load.jobs:,}")]


def measured(servers: Stand, load: Load) -> Rounds:
    """All rounds; who goes first changes, so that a machine that grows slower favours nobody."""
    rounds = Rounds()
    for number in range(load.rounds):
        for stack in STACKS if number % 2 == 0 else reversed(STACKS):
            note(f"round {number + 1} of {load.rounds}: {stack}")
            rounds.add(stack, visit(servers, servers.place(stack), load))
    return rounds


def note(text: str) -> None:
    """Tell how far it is; the tables alone go to the standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
