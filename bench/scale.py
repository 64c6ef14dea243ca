"""How a drain grows with workers and their processes, until the machine or PostgreSQL is full."""

import statistics
from contextlib import ExitStack

from bench import cpu
from bench.ends import ends_of
from bench.figures import in_turns
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.table import markdown, number
from bench.visit import Load, warmed, work_off
from bench.worker import Worker

SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1))
"""Workers, and pool processes of each."""


def measure(stand: Stand, load: Load) -> list[str]:
    """A table of jobs per second for each number of workers, medians, with PostgreSQL's CPU time."""
    figures: dict[tuple[int, int], list[tuple[float, float]]] = {size: [] for size in SIZES}
    for _, size in in_turns(SIZES, load.rounds):
        figures[size].append(_drain(stand, *size, load.backlog))
    head = ("Trilho's drain", "processes each", "jobs/s", "PostgreSQL, µs of CPU time per job")
    return markdown(head, [_line(size, found) for size, found in figures.items()])


def _line(size: tuple[int, int], found: list[tuple[float, float]]) -> tuple[str, ...]:
    workers, processes = size
    rate, postgres = (statistics.median(values) for values in zip(*found, strict=True))
    return f"{workers} worker{'s' if workers > 1 else ''}", str(processes), number(rate), number(postgres)


def _drain(stand: Stand, workers: int, processes: int, jobs: int) -> tuple[float, float]:
    place = stand.place("trilho")
    clear(place)
    ends = ends_of(place)
    with ExitStack() as stack:
        caller = stack.enter_context(RemoteCaller(place))
        for n in range(workers):
            stack.enter_context(Worker(place, f"{n}", processes))
        warmed(caller, ends, jobs, workers)
        before = cpu.server_seconds(stand)
        rate = work_off(caller, ends, jobs, workers)
        spent = cpu.per_job(before, cpu.server_seconds(stand), jobs)
    clear(place)
    return rate, spent["postgres"]
