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
    """One pool call under way."""

    order: SliceOrder
    requests: dict[str, Any]
    begun: float
    pid: int | None = None
    ending: str | None = None  # why this worker itself ends it: one of the reasons above
    soft: float | None = None
    hard: float | None = None
