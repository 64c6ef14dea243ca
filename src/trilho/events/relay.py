"""The relay: takes what was published out of the outbox, in order for each key. Part of every dispatcher."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from trilho.db.pool import LOST, Connection, Database
from trilho.db.wakeups import Bell, Listener
from trilho.events import store
from trilho.events.nudge import OUTBOX
from trilho.events.outlet import LEASE
from trilho.events.pipes import outlet_of
from trilho.events.store import Moved
from trilho.log import get_logger
from trilho.processes.lease import Identity

log = get_logger("trilho.relay")

SETTLED = 5.0
"""Seconds after which a position that did not commit is looked for in the full scans only."""
FULL_SCAN = 2.0
AWAY = 0.5


@dataclass
class Floors:
    """Where scans of each shard begin: deleted rows that an old snapshot keeps must not be read again and again.

    Positions commit in any order, so a floor is what was moved some seconds ago, and every few seconds there is none.
    """

    _moved: dict[int, deque[tuple[float, int]]] = field(default_factory=dict)
    _floor: dict[int, int] = field(default_factory=dict)
    _full_at: float = 0.0

    def of(self, shards: Sequence[int], now: float) -> dict[int, int]:
        """The floors for one look."""
        if now >= self._full_at:
            self._full_at = now + FULL_SCAN
            return dict.fromkeys(shards, -1)
        return {shard: self._settled(shard, now) for shard in shards}

    def note(self, moved: Moved, now: float) -> None:
        """Remember how far a shard was moved."""
        self._moved.setdefault(moved.shard, deque(maxlen=1000)).append((now, moved.last))

    def _settled(self, shard: int, now: float) -> int:
        history = self._moved.get(shard, deque())
        while history and history[0][0] <= now - SETTLED:
            self._floor[shard] = max(self._floor.get(shard, -1), history.popleft()[1])
        return self._floor.get(shard, -1)


@dataclass
class Relay:
    """Runs in a thread of its own, on one connection: from publisher to handler it takes milliseconds."""

    database: Database
    identity: Identity
    tick: float
    floors: Floors = field(default_factory=Floors)
    bell: Bell = field(default_factory=Bell)
    _shards: list[int] = field(default_factory=list)
    _renew_at: float = 0.0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.listener = Listener(self.database)
        self.outlet = outlet_of(self.database, lambda: self.bell.ring(None))

    def start(self) -> None:
        """Begin in a thread."""
        self._thread = threading.Thread(target=self._run, name="trilho-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End soon, and let others have the shards."""
        self._stopping.set()
        self.bell.ring(None)
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._stopping.is_set():
            try:
                connection = connection or self.database.open_connection()
                self._lease(connection)
                if self._shards:
                    self._relay(connection)
                else:
                    self._stopping.wait(LEASE / 3)
            except Exception as error:  # a relay that ends keeps every event of its shards
                if not isinstance(error, LOST):
                    log.exception("relay.failed")
                log.warning("relay.paused", error=str(error).strip())
                _close(connection)
                connection = None
                self._stopping.wait(AWAY)
        self._leave(connection)

    def _relay(self, connection: Connection) -> None:
        """Move events while we have shards; only then is it worth to listen."""
        with self.listener.watching([OUTBOX], self.bell) as bell:
            while self._shards and not self._stopping.is_set():
                self._lease(connection)
                if not self.look(connection):
                    bell.wait(self.tick)

    def _lease(self, connection: Connection) -> None:
        now = time.monotonic()
        if now >= self._renew_at:
            if self.outlet.is_open(connection):
                self._shards = store.lease_shards(connection, self.identity.incarnation, LEASE)
            elif self._shards:
                store.give_up_shards(connection, self.identity.incarnation)
                self._shards = []
            self._renew_at = now + LEASE / 3

    def look(self, connection: Connection) -> bool:
        """Move what is there; whether there may be more."""
        now = time.monotonic()
        look = self.outlet.look(connection, self.identity.incarnation, self.floors.of(self._shards, now))
        for moved in look.moved:
            self.floors.note(moved, now)
        if look.ours < len(self._shards):
            self._renew_at = 0.0
        return look.more

    def _leave(self, connection: Connection | None) -> None:
        try:
            if connection is not None:
                self.outlet.leave(connection, self.identity.incarnation)
                store.give_up_shards(connection, self.identity.incarnation)
        except LOST as error:
            log.debug("relay.not_left", error=str(error))
        _close(connection)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
