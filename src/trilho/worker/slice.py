"""A slice: one pool call, from its start until it is settled."""

from dataclasses import dataclass
from typing import Any

from trilho.jobs.runner import SliceOrder

CANCELLED = "cancelled"
LEASE = "lease"
SHUTDOWN = "shutdown"
TIME_LIMIT = "time limit"


@dataclass
class Slice:
    """One pool call under way; `requests` are those whose end has not been told yet."""

    order: SliceOrder
    requests: dict[str, Any]
    begun: float
    pid: int | None = None
    accepted_at: float = 0.0
    ending: str | None = None  # why this worker itself ends it: one of the reasons above
    soft: float | None = None
    hard: float | None = None
    seen: int = 0  # the job whose body ran at the last look
    seen_at: float = 0.0  # since when
    closed: bool = False  # nothing of it begins any more

    @property
    def shared(self) -> bool:
        """Whether it was ordered for several jobs."""
        return len(self.order.ids) > 1

    def look(self, running: int | None, now: float) -> float:
        """For how many seconds the same body has been seen to run; 0 between bodies."""
        if running is None or running != self.seen or not self.seen_at:
            self.seen, self.seen_at = running or 0, now
            return 0.0
        return now - self.seen_at

    def is_long(self, now: float, seconds: float) -> bool:
        """Whether its last body has run for longer than this; a process that is still to start is no long body."""
        if self.pid is None or (self.shared and not self.closed):
            return False
        return now - (self.seen_at or self.accepted_at) > seconds
