"""Tells the relay, right after a commit, that the outbox has rows: coalesced, in the background.

A NOTIFY inside the publisher's transaction would make all commits of the database wait for each other.
"""

import os
import threading

from trilho.db.pool import LOST, Database
from trilho.events import store
from trilho.log import get_logger

log = get_logger("trilho.nudge")

OUTBOX = "trilho:outbox"
"""What the relay listens for."""
GATHER = 0.002
IDLE = 5.0


class Nudge:
    """Losing one loses time, never an event: the relay looks by itself, too."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        """Tell the relay soon; never blocks, never raises."""
        if self._pid != os.getpid():
            self._begin_process()
        self._asked.set()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="trilho-nudge", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._asked.wait(IDLE):
            self._asked.clear()
            try:
                self._database.run(store.announce, [OUTBOX])
            except LOST as error:
                log.debug("nudge.not_sent", error=str(error))
            threading.Event().wait(GATHER)
