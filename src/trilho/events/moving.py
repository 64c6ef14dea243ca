"""From the PostgreSQL log to Kafka: what a group has left to read in the old log of a topic comes first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trilho.db.pool import Database
from trilho.events import store
from trilho.events.event import StoredEvent
from trilho.events.log import Change, Log, report_expired
from trilho.events.postgres import PostgresLog
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.log import get_logger

log = get_logger("trilho.consumer")

LOOK = 2.0


@dataclass
class MovingLog:
    """Two logs: lanes of the new one wait until nobody has anything of their topic left in the old one.

    The old log is looked at as long as this runs, for a relay that still writes there may be left somewhere.
    """

    database: Database
    subscriptions: ByTopic
    old: PostgresLog
    new: Log
    _left: set[tuple[str, str]] | None = None
    _look_at: float = 0.0
    _waiting: dict[Lane, Position] = field(default_factory=dict)
    _leaving: frozenset[Lane] = frozenset()

    def refresh(self) -> Change:
        """Changes of the old log, and of the new one where the old one is drained."""
        left = self._look()
        change = self.new.refresh()
        self._leaving |= change.leaving
        self._drop(change.leaving)
        self._waiting |= change.taken
        before = self.old.refresh()  # last, for it may raise, and the new log tells its changes once
        ready = {lane: at for lane, at in self._waiting.items() if (lane.group, lane.topic) not in left}
        for lane in ready:
            del self._waiting[lane]
        leaving, self._leaving = self._leaving, frozenset()
        return Change(before.taken | ready, before.leaving | leaving)

    def _look(self) -> set[tuple[str, str]]:
        now = time.monotonic()
        if self._left is None or now >= self._look_at:
            latest = {key: one.start == "latest" for key, one in self.subscriptions.items()}
            left = self.database.run(store.undrained, latest)
            for lane, count in self.database.run(store.skip_expired, self.subscriptions).items():
                report_expired(lane, count)
            if left != (self._left or set()):
                log.info("postgresql_log.left", groups=sorted(left))
            self.old.subscriptions = {key: self.subscriptions[key] for key in left}
            self._left, self._look_at = left, now + LOOK
        return self._left

    def _drop(self, lanes: frozenset[Lane]) -> None:
        """Lanes that go before anybody had them."""
        gone = [lane for lane in lanes if self._waiting.pop(lane, None) is not None]
        if gone:
            self.new.release(gone)

    def _of(self, lane: Lane) -> Log:
        return self.old if lane.log.startswith("postgres:") else self.new

    def release(self, lanes: Sequence[Lane]) -> None:
        """Each to its log."""
        for lane in lanes:
            self._of(lane).release([lane])

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """From its log."""
        return self._of(lane).fetch(lane, now, limit)

    def done(self, lane: Lane, now: Position) -> None:
        """Its log may have to know."""
        self._of(lane).done(lane, now)

    def close(self) -> None:
        """Leave both."""
        self.new.close()
        self.old.close()
