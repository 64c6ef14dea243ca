"""What the dispatcher needs of the worker it lives in."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from trilho.jobs.job import DueJob


class Hands(Protocol):
    """A worker that can take jobs directly, without the broker."""

    def queues(self) -> tuple[str, ...]:
        """The queues it consumes."""
        ...

    def tasks(self) -> tuple[str, ...]:
        """The tasks it knows."""
        ...

    def room(self) -> int:
        """How many jobs it can begin now or in a moment."""
        ...

    def hand_over(self, jobs: Sequence[DueJob]) -> None:
        """Take due jobs; must not block."""
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End these jobs if they run here; must not block."""
        ...

    def tokens(self) -> list[UUID]:
        """The claims that it knows of: under way, or being settled."""
        ...

    def settle_strays(self, claims: Sequence[tuple[str, UUID]]) -> None:
        """Give back jobs under claims that it has lost sight of; must not block."""
        ...

    def received(self) -> dict[tuple[str, int], float]:
        """Of each queue and priority, the latest time of sending among the wake-ups received (Unix time)."""
        ...
