"""The lease of one process incarnation: renewed by a thread of its own, watched by another.

Whoever cannot renew has to stop its bodies before others may take its jobs. The local deadline is boot time taken
before the renewal is sent, plus the lease, minus a margin; the server's clock starts later, so the deadline passes
earlier.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import psycopg
import uuid_utils.compat as uuid_utils

from trilho.db.pool import LOST, Connection, Database
from trilho.log import get_logger
from trilho.processes import store
from trilho.processes.shared import SharedState, boot_time
from trilho.processes.store import ProcessInfo, Pulse

log = get_logger("trilho.lease")

RENEWALS_PER_LEASE = 4
MARGIN = 0.2


class Identity(Protocol):
    """A process under its present incarnation."""

    incarnation: UUID


@dataclass
class Lease:
    """Keeps one process alive in the eyes of the others."""

    database: Database
    info: ProcessInfo
    pulse: Callable[[], Pulse]
    shared: SharedState
    on_lost: Callable[[], None]
    incarnation: UUID = field(default_factory=uuid_utils.uuid7)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _registered: bool = False
    _outlived: list[UUID] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Register and begin to renew in the background."""
        for name, target in (("lease", self._renew_for_ever), ("lease-watch", self._watch)):
            thread = threading.Thread(target=target, name=f"trilho-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop renewing and say so, so that nobody waits for the lease to run out."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        try:
            if self._registered:
                self.database.run(store.leave, self.incarnation)
        except LOST as error:
            log.warning("lease.not_left", error=str(error).strip())

    # ---- renewing

    def _renew_for_ever(self) -> None:
        connection: Connection | None = None
        while not self._stopping.is_set():
            try:
                connection = connection or self.database.open_connection()
                self._renew(connection)
            except Exception as error:  # this thread must not end: without renewals the worker is deaf for ever
                log.warning("lease.not_renewed", error=str(error).strip())
                _close(connection)
                connection = None
            self._stopping.wait(self.info.lease / RENEWALS_PER_LEASE)
        _close(connection)

    def _renew(self, connection: Connection) -> None:
        before = boot_time()
        incarnation = self.incarnation
        if not self._registered:
            store.register(connection, incarnation, self.info)
            self._registered = True
        if not store.renew(connection, incarnation, self.pulse()):
            self._lose(incarnation, "somebody declared it lost")
            return
        with self._lock:
            if incarnation == self.incarnation:
                self.shared.deadline = before + self.info.lease * (1 - MARGIN)
        if self._outlived:
            # In a thread of its own: it locks job rows, and nothing may hold a renewal up.
            outlived, self._outlived = self._outlived, []
            threading.Thread(target=self._absolve, args=(outlived,), name="trilho-absolve", daemon=True).start()

    def _absolve(self, outlived: list[UUID]) -> None:
        for incarnation in outlived:
            try:
                self.database.run(store.absolve, incarnation)
            except psycopg.Error as error:
                log.warning("lease.not_absolved", incarnation=str(incarnation), error=str(error).strip())

    # ---- losing it

    def _watch(self) -> None:
        while not self._stopping.wait(min(0.2, self.info.lease / 20)):
            deadline = self.shared.deadline
            if deadline and boot_time() >= deadline:
                self._lose(self.incarnation, "it could not be renewed in time")

    def _lose(self, incarnation: UUID, reason: str) -> None:
        """Stop the bodies of this incarnation and begin a new one."""
        with self._lock:
            if incarnation != self.incarnation:
                return
            log.error("lease.lost", incarnation=str(incarnation), reason=reason)
            self.shared.end_lease()
            self._outlived.append(incarnation)
            self._registered = False
            self.incarnation = uuid_utils.uuid7()
        self.on_lost()


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
