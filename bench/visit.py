"""One visit to one stack: every figure of one round, on empty queues and tables."""

import time
from dataclasses import dataclass

from bench import cpu
from bench.apps import Place
from bench.ends import Ends, ends_of
from bench.figures import quantile
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.worker import Worker

MANY = 2
"""Batches are so much faster than single calls that they need more jobs to be measured."""
WARM_UP = 50
LEAST = 1e-6
LAST_POLL = 1.2
"""Seconds after which a held worker has no BRPOP under way any more, which would still take a message."""


@dataclass(frozen=True)
class Load:
    """How much of everything."""

    rounds: int
    jobs: int

    @property
    def awaited(self) -> int:
        """Jobs whose results are waited for, one after the other."""
        return max(10, self.jobs // 10)

    @property
    def backlog(self) -> int:
        """Jobs of a drain: enough that it lasts, at several thousand per second."""
        return self.jobs * 5


def visit(stand: Stand, place: Place, load: Load) -> dict[str, float]:
    """Measure a stack once; CPU times have keys like `delay/postgres`, in µs per job."""
    with RemoteCaller(place) as caller:
        caller("warm_up")
        clear(place)
        figures = enqueue(stand, caller, load)
        clear(place)
        with Worker(place) as worker:
            figures |= drain(stand, place, caller, worker, load)
            waited = caller("awaited", load.awaited)
        clear(place)
    return figures | {"p50": 1000 * quantile(waited, 0.5), "p90": 1000 * quantile(waited, 0.9)}


def enqueue(stand: Stand, caller: RemoteCaller, load: Load) -> dict[str, float]:
    """Jobs per second, while no worker runs. Inside a transaction, what it costs without jobs is taken off."""
    jobs = load.jobs
    before = {"caller": caller("cpu")} | cpu.server_seconds(stand)
    figures = {"delay": jobs / caller("alone", jobs)}
    after = {"caller": caller("cpu")} | cpu.server_seconds(stand)
    empty = caller("transactions", jobs, 0)
    ones = caller("transactions", jobs, 1)
    twenties = caller("transactions", jobs // 20, 20)
    figures |= {
        "request": jobs / ones,
        "delay_in_1": jobs / max(LEAST, ones - empty),
        "delay_in_20": jobs // 20 * 20 / max(LEAST, twenties - empty * (jobs // 20) / jobs),
        "many": MANY * jobs / caller("many", MANY * jobs),
    }
    return figures | {f"delay/{group}": value for group, value in cpu.per_job(before, after, jobs).items()}


def drain(stand: Stand, place: Place, caller: RemoteCaller, worker: Worker, load: Load) -> dict[str, float]:
    """Jobs per second of a warm worker that is held until the backlog is complete."""
    ends = ends_of(place)
    warmed(caller, ends, load.backlog)
    before = cpu.worker_seconds(worker) | cpu.server_seconds(stand)
    rate = work_off(caller, ends, load.backlog)
    after = cpu.worker_seconds(worker) | cpu.server_seconds(stand)
    fill(caller, ends, load.backlog)
    caller("task_events", True)
    rate_with_events = work_off(caller, ends, load.backlog)
    caller("task_events", False)
    groups = {f"drain/{group}": value for group, value in cpu.per_job(before, after, load.backlog).items()}
    return {"drain": rate, "drain_events": rate_with_events} | groups


def warmed(caller: RemoteCaller, ends: Ends, jobs: int, workers: int = 1) -> None:
    """Let the workers warm up, then hold them before a backlog."""
    fill(caller, ends, WARM_UP * workers, workers)
    work_off(caller, ends, WARM_UP * workers, workers)
    fill(caller, ends, jobs, workers)


def fill(caller: RemoteCaller, ends: Ends, jobs: int, workers: int = 1) -> None:
    """Hold the workers and enqueue a backlog."""
    caller("consume", False, workers)
    time.sleep(LAST_POLL)
    ends.begin()
    caller("many", jobs)


def work_off(caller: RemoteCaller, ends: Ends, jobs: int, workers: int = 1) -> float:
    """Let the workers go; the jobs per second that they did."""
    caller("consume", True, workers)
    ends.wait(jobs)
    return ends.rate(jobs)
