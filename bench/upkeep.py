"""What a worker takes while there is nothing to do, and how its memory grows with the jobs that it has done."""

import time
from collections.abc import Iterator

import psutil

from bench import cpu
from bench.apps import STACKS, Place
from bench.ends import ends_of
from bench.figures import quantile
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.table import TITLES, markdown, number
from bench.visit import WARM_UP, fill, work_off
from bench.worker import Worker

IDLE = 30.0
STEPS = 10


def measure(stand: Stand, jobs: int) -> list[str]:
    """Two tables: CPU time while idle of both stacks, and Trilho's memory over so many jobs."""
    idle = [_idle(stand, stand.place(stack)) for stack in STACKS]
    head = ("an idle stack, % of a core", "worker, main process", "worker, pool processes", "PostgreSQL", "Valkey")
    memory = list(_memory(stand, jobs))
    return [*markdown(head, idle), "", *markdown(("after jobs", "main process, MB", "pool processes, MB each"), memory)]


def _idle(stand: Stand, place: Place) -> tuple[str, ...]:
    clear(place)
    with Worker(place) as worker:
        time.sleep(IDLE / 6)  # starting is no idleness
        before = cpu.worker_seconds(worker) | cpu.server_seconds(stand)
        time.sleep(IDLE)
        after = cpu.worker_seconds(worker) | cpu.server_seconds(stand)
    return TITLES[place.stack], *(f"{100 * (after[group] - before[group]) / IDLE:.1f}" for group in after)


def _memory(stand: Stand, jobs: int) -> Iterator[tuple[str, ...]]:
    place = stand.place("trilho")
    clear(place)
    ends = ends_of(place)
    with RemoteCaller(place) as caller, Worker(place) as worker:
        for step in range(STEPS + 1):
            batch = jobs // STEPS if step else WARM_UP
            fill(caller, ends, batch)
            work_off(caller, ends, batch)
            yield f"{step * (jobs // STEPS) + WARM_UP:,}", *map(number, _megabytes(worker))
            clear(place)


def _megabytes(worker: Worker) -> tuple[float, float]:
    main = psutil.Process(worker.pid)
    pool = [child.memory_info().rss / 1e6 for child in main.children(recursive=True)]
    return main.memory_info().rss / 1e6, quantile(pool, 0.99)
