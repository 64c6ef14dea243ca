"""Lost wake-ups: found by what the broker holds and what it delivered since. A deep backlog is never multiplied."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from trilho.db.pool import Connection
from trilho.dispatcher import store
from trilho.dispatcher.port import Hands
from trilho.jobs.pipe import Broker
from trilho.log import get_logger

log = get_logger("trilho.dispatcher")

ALMOST_NONE = 16
BATCH = 5000


@dataclass
class FindLost:
    """Takes wake-ups for lost, so that the due-job duties hand them out again."""

    broker: Callable[[], Broker]
    grace: float
    _broker: Broker | None = None

    def __call__(self, connection: Connection) -> None:
        """Look once."""
        found = store.lose_overtaken(connection, self.grace, BATCH)
        old = store.old_sent(connection, self.grace, ALMOST_NONE + 1)
        depths = self._depths([queue for queue, _ in old])
        for queue, waiting in old:
            if depths[queue] < waiting and depths[queue] <= ALMOST_NONE:
                found += store.lose_all(connection, queue, self.grace, BATCH)
        if found:
            log.warning("wakeups.lost", count=found)

    def _depths(self, queues: list[str]) -> dict[str, int]:
        """What the broker holds; an absent one delivers nothing, and is asked once a round only."""
        depths = dict.fromkeys(queues, 0)
        try:
            self._broker = self._broker or self.broker()
            for queue in queues:
                depths[queue] = self._broker.depth(queue)
        except Exception as error:  # whatever the broker's client raises
            log.debug("broker.away", error=repr(error))
        return depths


@dataclass
class Marks:
    """Turns what a worker receives into marks: sent before this time means received more than a grace ago."""

    hands: Hands
    grace: float
    _history: deque[tuple[float, dict[tuple[str, int], float]]] = field(default_factory=deque)
    _settled: dict[tuple[str, int], float] = field(default_factory=dict)

    def __call__(self, connection: Connection) -> None:
        """Write the marks that are old enough."""
        marks = self.settled(time.monotonic(), self.hands.received())
        if marks:
            store.settle_marks(connection, marks)

    def settled(self, now: float, received: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
        """Marks that changed, given what has been received by `now`."""
        if not self._history or self._history[-1][1] != received:
            self._history.append((now, received))
        old: dict[tuple[str, int], float] = {}
        while self._history and self._history[0][0] <= now - self.grace:
            old = self._history.popleft()[1]
        changed = {key: at for key, at in old.items() if at > self._settled.get(key, 0.0)}
        self._settled |= changed
        return changed
