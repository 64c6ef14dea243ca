"""Taking partitions from whoever had them: what he left running is ended, what he still has in hand counts no more."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from trilho.db.pool import Connection, brief_transaction
from trilho.events import store
from trilho.events.handling import backend_name
from trilho.events.store import Lane, Position

Take: TypeAlias = Callable[[], dict[int, Position]]

STANDS_STILL = 3.0
"""Seconds after which the server ends the taking of a process that was frozen in it."""


def take_over(connection: Connection, lane: Lane, generations: Mapping[int, int], take: Take) -> dict[int, Position]:
    """Run `take` for partitions of the lane's topic that had these generations; returns what it returns.

    Raises LockNotAvailable while a commit of a former owner does not come to its end: try again.
    """
    # Before: one that stands still between its last statement and its commit holds the row that `take` writes.
    _end(connection, lane, generations)
    with brief_transaction(connection, STANDS_STILL):
        store.wait_at_most(connection, 1.0)
        taken = take()
    # After: what it began meanwhile still holds rows of the application.
    _end(connection, lane, {partition: position.generation - 1 for partition, position in taken.items()})
    return taken


def _end(connection: Connection, lane: Lane, generations: Mapping[int, int]) -> None:
    lanes = {Lane(lane.group, lane.log, lane.topic, n): generation for n, generation in generations.items()}
    store.end_backends(connection, [backend_name(one, generation) for one, generation in lanes.items()])
