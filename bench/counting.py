"""Round trips and commits per job: a pass of its own, for the proxies that count would slow what is timed.

A round trip is a client that speaks to a server after the server has spoken. A commit is a transaction id that
PostgreSQL has given out: only those that write get one. What an idle worker does in the same time is taken off.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import psycopg

from bench.apps import STACKS, Place, Stack
from bench.ends import Ends, ends_of
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.visit import fill, work_off
from bench.wire import Wire
from bench.worker import Worker

JOBS = 200
IDLE_SECONDS = 2.0

NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


@dataclass(frozen=True)
class Count:
    """Of something that goes on: round trips to each server, and writing commits."""

    postgres: float
    broker: float
    commits: float

    def __sub__(self, other: "Count") -> "Count":
        return Count(self.postgres - other.postgres, self.broker - other.broker, self.commits - other.commits)

    def times(self, factor: float) -> "Count":
        """The same, more or less often."""
        return Count(self.postgres * factor, self.broker * factor, self.commits * factor)


class Counter:
    """Counts what goes through the wires of one client."""

    def __init__(self, place: Place, context: ExitStack) -> None:
        self._database = context.enter_context(psycopg.connect(place.database_url, autocommit=True))
        self._postgres = context.enter_context(Wire(place.database_url))
        self._broker = context.enter_context(Wire(place.broker_url))
        self._results = context.enter_context(Wire(place.results_url))
        self.place = replace(
            place,
            database_url=self._postgres.url,
            broker_url=self._broker.url,
            results_url=self._results.url,
        )

    def now(self) -> Count:
        """The sums so far."""
        row = self._database.execute(NEXT_TRANSACTION).fetchone()
        assert row is not None
        return Count(self._postgres.turns, self._broker.turns + self._results.turns, int(row[0]))

    def of(self, action: Callable[[], object]) -> Count:
        """What an action adds."""
        before = self.now()
        action()
        return self.now() - before


Counts = dict[tuple[str, Stack], Count]


def count(stand: Stand) -> Counts:
    """Counts per job of each way to enqueue and of the drain, for each stack."""
    counts: Counts = {}
    for stack in STACKS:
        place = stand.place(stack)
        clear(place)
        with ExitStack() as context:
            callers, workers = Counter(place, context), Counter(place, context)
            caller = context.enter_context(RemoteCaller(callers.place))
            caller("warm_up")
            counts |= {(title, stack): value for title, value in _enqueue(caller, callers)}
            clear(place)
            context.enter_context(Worker(workers.place))
            counts["drain", stack] = _drain(caller, workers, ends_of(place))
        clear(place)
    return counts


def _enqueue(caller: RemoteCaller, counter: Counter) -> Iterator[tuple[str, Count]]:
    yield "`.delay()` with its own commit", counter.of(partial(caller, "alone", JOBS)).times(1 / JOBS)
    empty = counter.of(partial(caller, "transactions", JOBS, 0)).times(1 / JOBS)
    for size in (1, 20):
        full = counter.of(partial(caller, "transactions", JOBS // size, size)).times(size / JOBS)
        yield f"`.delay()` inside the caller's transaction, {size} in each", (full - empty).times(1 / size)
    yield "`enqueue_many`", counter.of(partial(caller, "many", JOBS)).times(1 / JOBS)


def _drain(caller: RemoteCaller, counter: Counter, ends: Ends) -> Count:
    fill(caller, ends, JOBS)
    work_off(caller, ends, JOBS)
    idle = counter.of(lambda: time.sleep(IDLE_SECONDS)).times(1 / IDLE_SECONDS)
    fill(caller, ends, JOBS)
    begun = time.monotonic()
    busy = counter.of(lambda: work_off(caller, ends, JOBS))
    return (busy - idle.times(time.monotonic() - begun)).times(1 / JOBS)
