"""Stand-ins for what a dispatcher talks to: the worker around it, and the broker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from trilho.jobs.job import DueJob, NewJob
from trilho.jobs.pipe import Address


@dataclass
class FakeHands:
    """A worker that takes what it is given."""

    free: int = 10
    consumes: tuple[str, ...] = ("celery",)
    knows: tuple[str, ...] = ("work",)
    handed: list[DueJob] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    strays: list[tuple[str, UUID]] = field(default_factory=list)
    seen: dict[tuple[str, int], float] = field(default_factory=dict)

    def queues(self) -> tuple[str, ...]:
        return self.consumes

    def tasks(self) -> tuple[str, ...]:
        return self.knows

    def room(self) -> int:
        return self.free

    def hand_over(self, jobs: Sequence[DueJob]) -> None:
        self.handed += jobs
        self.free -= len(jobs)

    def cancel(self, job_ids: Sequence[str]) -> None:
        self.cancelled += job_ids

    def tokens(self) -> list[UUID]:
        return []

    def settle_strays(self, claims: Sequence[tuple[str, UUID]]) -> None:
        self.strays += claims

    def received(self) -> dict[tuple[str, int], float]:
        return dict(self.seen)

    @property
    def ids(self) -> list[str]:
        return [job.id for job in self.handed]


@dataclass
class FakeBroker:
    """A broker that holds as many messages as it is told, and may be away."""

    holds: dict[str, int] = field(default_factory=dict)
    away: bool = False
    sent: list[tuple[Address, list[str]]] = field(default_factory=list)

    def send(self, address: Address, jobs: Sequence[NewJob | DueJob]) -> None:
        if self.away:
            raise OSError("away")
        self.sent.append((address, [job.id for job in jobs]))

    def depth(self, queue: str) -> int:
        if self.away:
            raise OSError("away")
        return self.holds.get(queue, 0)

    def close(self) -> None: ...
