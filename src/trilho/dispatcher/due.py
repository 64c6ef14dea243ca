"""Due jobs: scheduled, retried, recovered or lost on the way. They reach a worker without waiting behind a backlog."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trilho.db.pool import Connection
from trilho.dispatcher import store
from trilho.dispatcher.port import Hands
from trilho.dispatcher.store import BEGINNING, Due
from trilho.jobs.job import DueJob
from trilho.jobs.pipe import Broker, by_address
from trilho.log import get_logger
from trilho.processes.store import known_queues, known_tasks

log = get_logger("trilho.dispatcher")

FROM_THE_START = 5.0
PUBLISH_AFTER = 10.0  # until then the workers have them first, ahead of any backlog
PUBLISH_BATCH = 1000


@dataclass
class MovingFloor:
    """Where to begin to look: dead entries of a hot index head are read every few seconds only."""

    floor: datetime = BEGINNING
    whole: float = 0.0

    def begin(self, now: float) -> datetime:
        """The oldest `run_at` to look at."""
        if now - self.whole >= FROM_THE_START:
            self.whole = now
            return BEGINNING
        return self.floor

    def found(self, jobs: list[DueJob]) -> None:
        """Nothing older than what was found is left, but for what came late: allow for that."""
        if jobs:
            self.floor = max(self.floor, min(job.run_at for job in jobs) - timedelta(seconds=FROM_THE_START))


@dataclass
class HandOver:
    """Gives due jobs to the worker that this dispatcher lives in, as far as it has room."""

    hands: Hands
    floor: MovingFloor = field(default_factory=MovingFloor)
    may_have_more: bool = False

    def __call__(self, connection: Connection) -> None:
        """Take and hand over once."""
        room = self.hands.room()
        if room <= 0:
            return
        floor = self.floor.begin(time.monotonic())
        jobs = store.take_due(connection, Due(self.hands.queues(), self.hands.tasks(), room, floor=floor))
        self.floor.found(jobs)
        self.may_have_more = len(jobs) == room
        if jobs:
            self.hands.hand_over(jobs)


@dataclass
class Publish:
    """Gives due jobs that no worker took to the broker, for tasks that some live worker knows."""

    broker: Callable[[], Broker]
    after: float = PUBLISH_AFTER
    _broker: Broker | None = None
    _not_before: float = 0.0

    def __call__(self, connection: Connection) -> bool:
        """Take and publish once; whether there may be more."""
        if time.monotonic() < self._not_before:
            return False
        wanted = Due(known_queues(connection), known_tasks(connection), PUBLISH_BATCH, overdue=self.after)
        if not wanted.queues or not wanted.tasks:
            return False
        jobs = store.take_due(connection, wanted)
        for address, batch in by_address(jobs).items():
            try:
                self._connected().send(address, batch)
            except Exception as error:  # whatever the broker's client raises: the rows go back
                log.warning("broker.away", error=repr(error))
                store.give_back(connection, batch)
                self._not_before = time.monotonic() + 1.0
        return len(jobs) == PUBLISH_BATCH and not self._not_before > time.monotonic()

    def _connected(self) -> Broker:
        self._broker = self._broker or self.broker()
        return self._broker
