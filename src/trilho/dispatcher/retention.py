"""Retention: finished jobs are deleted when they are old enough, in small batches and with most of the time for others.

What is old is found in the order of age, from where the last look ended, so a look costs what there is to delete and
no finish pays for an index of its own. What ended late lies behind that place: a walk from the beginning finds it.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.dispatcher.store import BEGINNING
from trilho.jobs.job import FAILURE, REVOKED, SUCCESS
from trilho.log import get_logger
from trilho.settings import Settings

log = get_logger("trilho.dispatcher")
SQL = beside(__file__, "retention.sql")

SMALLEST, LARGEST = 50, 2000
BRIEF = 0.025
"""Seconds that a batch may take: the dispatcher has other things to do."""
REST = 3.0
"""Pause after a batch, as a multiple of what it took."""
PAUSE = 60.0
MAIL_KEPT = 3600.0
"""Seconds that an event is kept for sagas at least; longer where a run lives that may wait for it."""
FROM_THE_BEGINNING = 6 * 3600.0


@dataclass(frozen=True)
class Rule:
    """What is looked for, and from which age on it goes; `page` and `delete` are queries of `retention.sql`."""

    page: str
    delete: str
    keep: float
    states: tuple[str, ...] = ()


def keeping(settings: Settings) -> list[Rule]:
    """The rules of these settings; none for what is kept for ever."""
    kept = {(SUCCESS,): settings.retention_success, (FAILURE, REVOKED): settings.retention_failure}
    limited = {states: seconds for states, seconds in kept.items() if seconds is not None}
    jobs = [
        Rule(page, "delete_jobs", seconds, states)
        for states, seconds in limited.items()
        for page in ("jobs_by_id", "jobs_by_age")
    ]
    if limited:
        shortest = min(limited.values())
        jobs += [Rule("groups", "delete_groups", shortest), Rule("chords", "delete_chords", shortest)]
    if limited:
        jobs.append(Rule("timeline", "delete_notes", max(limited.values())))
    sagas = [
        Rule("sagas", "delete_sagas", seconds, ("COMPLETED",) if SUCCESS in states else ("COMPENSATED",))
        for states, seconds in limited.items()
    ]
    mail = [Rule("saga_mail", "delete_saga_mail", MAIL_KEPT)]
    return [*jobs, *sagas, *mail, Rule("attempts", "delete_attempts", 0.0), Rule("keys", "delete_keys", 0.0)]


@dataclass
class Walk:
    """One rule, and how far it has come; the place is in memory only, whoever takes over begins again."""

    rule: Rule
    since: datetime = BEGINNING
    after: str = ""

    def step(self, connection: Connection, limit: int, now: datetime) -> tuple[int, bool]:
        """Look at a page; how many rows were deleted, and whether there is more to look at."""
        cutoff = now - timedelta(seconds=self.rule.keep)
        place = {"since": self.since, "after": self.after, "before": first_id(cutoff), "limit": limit}
        values = place | {"cutoff": cutoff, "states": list(self.rule.states)}
        row = connection.execute(SQL[self.rule.page], values).fetchone()
        assert row is not None
        ids, since, after, seen = row
        if seen:
            self.since, self.after = since or BEGINNING, after
        deleted = connection.execute(SQL[self.rule.delete], values | {"ids": ids}).rowcount if ids else 0
        return deleted, seen == limit


def first_id(when: datetime) -> str:
    """Below every UUIDv7 made since then, above every one made before."""
    digits = f"{max(0, round(when.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


@dataclass
class Retain:
    """Deletes what is old enough, a batch at a time, and rests in between."""

    rules: Sequence[Rule]
    limit: int = SMALLEST
    _walks: list[Walk] = field(default_factory=list)
    _left: list[Walk] = field(default_factory=list)
    _not_before: float = 0.0
    _whole_at: float = -math.inf
    _deleted: int = 0

    def __call__(self, connection: Connection) -> bool:
        """Do a step, unless it is time to rest; whether there is more to do soon."""
        began = time.monotonic()
        if began < self._not_before:
            return bool(self._left)
        if not self._left:
            self._left = self._round(began)
        deleted, more = self._left[0].step(connection, self.limit, datetime.now(timezone.utc))
        took = time.monotonic() - began
        self.limit = next_limit(self.limit, took, more)
        if not more:
            self._left.pop(0)
        self._deleted += deleted
        self._not_before = time.monotonic() + (REST * took if self._left else PAUSE)
        if not self._left and self._deleted:
            log.info("retention.deleted", count=self._deleted)
            self._deleted = 0
        return bool(self._left)

    def _round(self, now: float) -> list[Walk]:
        if now - self._whole_at >= FROM_THE_BEGINNING:
            self._whole_at = now
            self._walks = [Walk(rule) for rule in self.rules]
        return list(self._walks)


def next_limit(limit: int, took: float, full: bool) -> int:
    """A batch that fits the time: half of one that took too long, twice one that was brief and full."""
    if took > BRIEF:
        return max(SMALLEST, limit // 2)
    return min(LARGEST, limit * 2) if full and took < BRIEF / 3 else limit
