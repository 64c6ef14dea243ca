"""Wake-ups from PostgreSQL: one LISTEN connection per process tells waiting callers that a job came to its end.

NOTIFY is a hint. Who waits also looks by himself, seldom while LISTEN works and more often while it does not.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import psycopg

from trilho.db.pool import LOST, Connection, Database
from trilho.log import get_logger

log = get_logger("trilho.wakeups")

T = TypeVar("T")

CHANNEL = "trilho_done"
IDLE_CLOSE = 30.0


class Bell:
    """Rings for who waits, and says what for."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._keys: set[str] = set()

    def ring(self, key: str | None) -> None:
        """Announce a key; None where something may have been missed."""
        if key is not None:
            self._keys.add(key)
        self._rung.set()

    def wait(self, seconds: float) -> None:
        """Wait for the next ring."""
        self._rung.wait(seconds)
        self._rung.clear()

    def take(self) -> set[str]:
        """The keys announced since the last call."""
        keys, self._keys = self._keys, set()
        return keys


class Listener:
    """Hands announcements of one process to those who wait for them; listens only while somebody waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._watchers: dict[str, set[Bell]] = defaultdict(set)
        self._expected: WeakValueDictionary[str, Bell] = WeakValueDictionary()
        self._thread: threading.Thread | None = None
        self.connected = threading.Event()

    @contextmanager
    def watching(self, keys: Collection[str], bell: Bell | None = None) -> Iterator[Bell]:
        """A bell, the caller's own if there is one, that rings whenever one of the keys is announced."""
        if self._pid != os.getpid():
            self._begin_process()
        bell = bell or Bell()
        with self._lock:
            for key in keys:
                self._watchers[key].add(bell)
            self._ensure_thread()
        try:
            yield bell
        finally:
            with self._lock:
                for key in keys:
                    self._watchers[key].discard(bell)
                    if not self._watchers[key]:
                        del self._watchers[key]

    def expecting(self, key: str) -> Bell | None:
        """A bell for what is still to be begun, as long as the caller keeps it; None while this process listens to
        nothing: whoever waits later has to ask first."""
        if self._pid != os.getpid() or not self.connected.is_set():
            return None
        bell = Bell()
        with self._lock:
            self._expected[key] = bell
        return bell if self.connected.is_set() else None

    def _ensure_thread(self) -> None:
        if self._database.settings.listen_url == "off":
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="trilho-listen", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = 0.1
        while self._watchers:
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.connected.set()
                    pause = 0.1
                    self._ring_all()  # what was announced while nobody listened
                    self._hand_out(connection)
            except LOST as error:
                log.debug("listen.lost", error=str(error))
            finally:
                self.connected.clear()
            threading.Event().wait(pause)
            pause = min(5.0, pause * 2)

    def _connect(self) -> Connection:
        url = self._database.settings.listen_url
        if not url:
            return self._database.open_connection()
        return psycopg.connect(url, **self._database.connect_options())

    def _hand_out(self, connection: Connection) -> None:
        while self._watchers:
            for notice in connection.notifies(timeout=IDLE_CLOSE):
                with self._lock:
                    bells = set(self._watchers.get(notice.payload, ()))
                    if (expected := self._expected.get(notice.payload)) is not None:
                        bells.add(expected)
                for bell in bells:
                    bell.ring(notice.payload)

    def _ring_all(self) -> None:
        with self._lock:
            bells = {bell for watchers in self._watchers.values() for bell in watchers} | {*self._expected.values()}
        for bell in bells:
            bell.ring(None)


def wait_until(bell: Bell, listening: Callable[[], bool], pauses: Iterator[float], left: float) -> None:
    """Wait for the bell, at most `left` seconds, and shorter while nobody listens."""
    bell.wait(min(left, 2.0 if listening() else next(pauses)))


def looked(look: Callable[[], T]) -> T | None:
    """What a look by the way finds; None while PostgreSQL is away: whoever waits has the time."""
    try:
        return look()
    except LOST as error:
        log.warning("postgresql.away", error=str(error).strip())
        return None


def polling_pauses(first: float = 0.01, longest: float = 0.5) -> Iterator[float]:
    """Seconds between two looks without LISTEN: growing, bounded."""
    pause = first
    while True:
        yield pause
        pause = min(longest, pause * 1.5)
