"""A consumer process: its lease, its share of the partitions, and threads that work the lanes."""

import os
import socket
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version

from trilho.db.pool import LOST, Database
from trilho.db.wakeups import Bell
from trilho.events.arrivals import arrived
from trilho.events.handling import Handling
from trilho.events.lane import LaneWorker
from trilho.events.log import Log
from trilho.events.pipes import log_of
from trilho.events.plan import Company
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.events.threads import RunsCoroutines, Threads
from trilho.log import get_logger
from trilho.processes.lease import Lease
from trilho.processes.shared import SharedState
from trilho.processes.store import ProcessInfo, Pulse

log = get_logger("trilho.consumer")

SHORTEST = 0.02
LEASE = 6.0
"""Seconds; a killed member's partitions move within this and a refresh."""


@dataclass(frozen=True)
class ConsumerOptions:
    """How a consumer process runs."""

    name: str
    concurrency: int = 4
    grace: float = 20.0


@dataclass
class Consumer:
    """Handles the events of some subscriptions until it is told to stop."""

    database: Database
    subscriptions: ByTopic
    coroutines: RunsCoroutines
    options: ConsumerOptions
    workers: dict[Lane, LaneWorker] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    _company: defaultdict[str, Company] = field(default_factory=lambda: defaultdict(Company))
    _looked_at: float = 0.0  # at every lane
    _ending: bool = False

    def __post_init__(self) -> None:
        self.threads = Threads(self.options.concurrency, self.coroutines)
        self.database.make_room(self.options.concurrency + 2)
        lease = min(LEASE, self.database.settings.lease)
        self.lease = Lease(self.database, self._info(lease), lambda: self.pulse, SharedState(1), self._on_lease_lost)
        self.bell = Bell()
        self.log: Log = log_of(self.database, self.subscriptions, lambda: self.lease.incarnation, self.bell)

    def _info(self, lease: float) -> ProcessInfo:
        return ProcessInfo(
            kind="consumer",
            name=self.options.name,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=version("trilho"),
            lease=lease,
            pool="threads",
            concurrency=self.options.concurrency,
        )

    def _on_lease_lost(self) -> None:
        """The partitions are somebody else's by now, or ours under a new name: every commit of ours will say so."""
        self.bell.ring(None)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then end what is in hand, within the grace."""
        self.lease.start()
        self.threads.start()
        told: set[str] = set()
        try:
            while not stop.is_set():
                self._refresh()
                self._submit(told)
                told = arrived(self.bell, max(SHORTEST, self._look_at() - time.monotonic()))
        finally:
            self._end()

    # ---- sharing

    def _refresh(self) -> None:
        try:
            change = self.log.refresh()
            for lane in (change.leaving | change.taken.keys()) & self.workers.keys():
                self.workers[lane].leaving = True
            for lane, position in change.taken.items():
                self.workers[lane] = self._worker(lane, position)
                self._looked_at = 0.0
            self._let_go()
        except LOST as error:
            log.warning("postgresql.away", error=str(error).strip())

    def _worker(self, lane: Lane, position: Position) -> LaneWorker:
        subscription = self.subscriptions[lane.group, lane.topic]
        log.info("lane.taken", group=lane.group, topic=lane.topic, partition=lane.partition, offset=position.offset)
        handling = Handling(self.database, subscription, lane, self.coroutines.run)
        return LaneWorker(self.log, lane, handling, position, self._company[lane.group])

    def _let_go(self) -> None:
        for lane in [lane for lane, worker in self.workers.items() if worker.leaving or worker.lost]:
            if not self.workers[lane].steps.running:
                del self.workers[lane]
                self.log.release([lane])

    # ---- working

    def _submit(self, told: set[str]) -> None:
        """Begin a step of each lane of these topics, or of every lane when it is time to look, or nobody can tell."""
        now = time.monotonic()
        every = not told or now >= self._look_at()
        if every:
            self._looked_at = now
        for worker in self.workers.values():
            if (every or worker.lane.topic in told) and worker.able and worker.steps.call():
                self._submit_step(worker)
        self.pulse.running = sum(worker.steps.running for worker in self.workers.values())

    def _look_at(self) -> float:
        """When to look at every lane: a tick after the last time, and no later than the first lane that waits."""
        waits = [worker.not_before for worker in self.workers.values() if worker.not_before > self._looked_at]
        return min([self._looked_at + self.database.settings.tick, *waits])

    def _submit_step(self, worker: LaneWorker) -> None:
        self.threads.submit(lambda: self._step(worker))

    def _step(self, worker: LaneWorker) -> None:
        worker.steps.begin()
        if not self._ending and not worker.leaving and worker.step():
            worker.steps.call()
        self.pulse.last_progress = time.time()
        able = worker.able and not self._ending
        if worker.steps.end(able):
            self._submit_step(worker)
        elif not (able and worker.able):  # asked once more: it may have been told to leave since
            self.bell.ring(None)  # to be let go, or to be looked at when it has waited

    # ---- ending

    def _end(self) -> None:
        self._ending = True
        self.pulse.state = "stopping"
        ended = self.threads.finish(self.options.grace)
        try:
            self.log.close()
            self.lease.stop()
        except LOST as error:
            log.warning("postgresql.away", error=str(error).strip())
        if not ended:
            left = [worker.lane for worker in self.workers.values() if worker.steps.running]
            # Their threads end with the process, their transactions are rolled back; the next owner handles the events.
            log.warning("handlers.left", lanes=[f"{lane.group} {lane.topic} {lane.partition}" for lane in left])
