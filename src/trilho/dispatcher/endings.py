"""Jobs that end without a worker: past their time to live, or duplicates of a unique job."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilho.db.pool import Connection
from trilho.jobs.aftermath import end_duplicate, end_expired
from trilho.jobs.unique import decide
from trilho.log import get_logger

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.dispatcher")

BATCH = 100
FEW_LOCKS = 32
BEGINNING = ("", "")
REST = 20
"""Pause after a look, as a multiple of what it took: an old snapshot can fill the index with dead entries."""


@dataclass
class Expire:
    """Ends waiting jobs whose time to live is over, also those that no worker would take."""

    app: "Trilho"
    _not_before: float = 0.0

    def __call__(self, connection: Connection) -> bool:
        """End some; whether there may be more."""
        began = time.monotonic()
        if began < self._not_before:
            return False
        count = end_expired(self.app, connection, BATCH)
        if count:
            log.info("jobs.expired", count=count)
        else:
            self._not_before = began + REST * (time.monotonic() - began)
        return count == BATCH


@dataclass
class Decide:
    """Gives keys to the unique jobs that were enqueued while an open transaction decided about the same key."""

    app: "Trilho"
    _after: tuple[str, str] = BEGINNING

    def __call__(self, connection: Connection) -> bool:
        """Decide about some; whether it is worth to go on."""
        decisions = decide(connection, self._after, FEW_LOCKS)
        for decision in decisions:
            if decision.duplicate_of is not None:
                end_duplicate(self.app, connection, decision.id, decision.duplicate_of)
        self._after = (decisions[-1].key, decisions[-1].id) if len(decisions) == FEW_LOCKS else BEGINNING
        return any(decision.decided for decision in decisions)
