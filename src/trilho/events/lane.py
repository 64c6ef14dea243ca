"""One lane at work: fetch, handle, and what follows from how it went."""

import time
from dataclasses import dataclass, field

from trilho.db.pool import LOST
from trilho.db.transient import is_transient
from trilho.errors import ClaimLost
from trilho.events import store
from trilho.events.event import StoredEvent
from trilho.events.handling import Handling
from trilho.events.log import Log
from trilho.events.parking import Parking
from trilho.events.plan import Company, Failure, after
from trilho.events.steps import Steps
from trilho.events.store import Lane, Position
from trilho.log import get_logger

log = get_logger("trilho.consumer")

LOOK_AT_PARKED = 0.5
CROWDED = 5.0


@dataclass
class LaneWorker:
    """Works one lane, a step at a time, in one thread at a time."""

    log: Log
    lane: Lane
    handling: Handling
    position: Position
    company: Company = field(default_factory=Company)  # of all lanes of the group here
    limit: int = 1
    troubles: int = 0
    parked_at: float = 0.0
    not_before: float = 0.0
    steps: Steps = field(default_factory=Steps)
    leaving: bool = False  # to be let go as soon as no step runs
    lost: bool = False
    doubtful: bool = False  # whether it is still ours has to be looked up

    def __post_init__(self) -> None:
        self.limit = self.handling.subscription.most
        self.parking = Parking(self.handling)

    @property
    def able(self) -> bool:
        """Whether a step makes sense now."""
        return not (self.leaving or self.lost) and self.not_before <= time.monotonic()

    def step(self) -> bool:
        """Do one batch; whether there may be more at once."""
        try:
            if self.doubtful:
                self._look_again()
            return not self.lost and self._retry_parked() | self._work()
        except ClaimLost as error:
            log.warning("lane.lost", topic=self.lane.topic, partition=self.lane.partition, error=str(error))
            self.doubtful = True
            return True
        except BaseException as error:  # SystemExit, too: a step that raises ends its thread, and the lane is dead
            if not is_transient(error) and not isinstance(error, LOST):
                log.exception("lane.failed", topic=self.lane.topic, partition=self.lane.partition)
            self._pause(min(5.0, 0.1 * 2**self.troubles))
            self.troubles = min(8, self.troubles + 1)
            return False

    def _retry_parked(self) -> bool:
        now = time.monotonic()
        if now < self.parked_at:
            return False
        self.parked_at = now + LOOK_AT_PARKED  # what follows may raise, and must not keep the lane from its work
        more = self.parking.retry_one(self.position.generation)
        if more:
            self.parked_at = 0.0
        return more

    def _work(self) -> bool:
        events = self.log.fetch(self.lane, self.position, self.limit)
        if not events:
            return False
        alone = self.company.alone
        failure = self.handling(events, self.position, alone)
        self._follow(events, failure, alone)
        return self.not_before <= time.monotonic()

    def _follow(self, events: list[StoredEvent], failure: Failure | None, alone: bool) -> None:
        most = self.handling.subscription.most
        following = after(len(events), self.limit, most, failure, self.troubles, alone)
        self.limit = following.limit
        if failure is None:
            self.company.well()
        elif failure.contention and not alone:
            self.company.contention()
        self.troubles = self.troubles + 1 if failure is not None and failure.transient else 0
        if following.step == "go on":
            self._advance(events[-1].offset + 1)
        elif following.step == "wait":
            assert failure is not None
            log.warning("batch.interrupted", **self.lane.values(), error=repr(failure.error), retry_in=following.pause)
            self._pause(following.pause)
        elif following.step == "park":
            assert failure is not None
            if self.parking.park(events[0], failure.error, self.position):
                self._advance(events[0].offset + 1)
            else:
                log.error("parking.full", topic=self.lane.topic, partition=self.lane.partition)
                self._pause(CROWDED)

    def _advance(self, offset: int) -> None:
        self.position = Position(offset, self.position.generation)
        self.log.done(self.lane, self.position)

    def _pause(self, seconds: float) -> None:
        self.not_before = time.monotonic() + seconds

    def _look_again(self) -> None:
        found = self.handling.database.run(store.position, self.lane)
        self.lost = found is None or found.generation != self.position.generation
        if found is not None and not self.lost:
            self.position = found
        self.doubtful = False
