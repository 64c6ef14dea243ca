"""How far groups are, decided without I/O from what PostgreSQL says and what the log knows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from trilho.events.log_admin import LogGroup, Place
from trilho.events.views import GroupView, LagView


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one group stands in one partition of one log."""

    group: str
    log: str
    topic: str
    partition: int
    offset: int
    member: str | None = None
    moved_at: datetime | None = None

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Counts:
    """What PostgreSQL counts for a group."""

    members: int = 0
    parked_keys: int = 0
    dead_letters: int = 0


def completed(rows: Iterable[Progress], known: Mapping[str, LogGroup], identities: Mapping[str, str]) -> list[Progress]:
    """Progress in topics that exist; where PostgreSQL has no offset of a group, that which the log knows."""
    ours = {(row.group, *row.place): row for row in rows if identities.get(row.topic) == row.log}
    told = {
        (name, topic, partition): Progress(name, identities[topic], topic, partition, offset)
        for name, group in known.items()
        for (topic, partition), offset in group.committed.items()
        if topic in identities
    }
    everything = told | ours
    return [everything[key] for key in sorted(everything)]


def lag_of(row: Progress, kind: str, end: int, known: LogGroup | None) -> LagView:
    """How far behind the end a group is."""
    reader = known.readers.get(row.place) if known is not None else None
    return LagView(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        end=end,
        lag=max(0, end - row.offset),
        member=row.member or reader,
        moved_at=row.moved_at,
        log=kind,
    )


def group_of(name: str, lags: Sequence[LagView], known: LogGroup | None, counts: Counts, *, foreign: bool) -> GroupView:
    """A group as a whole."""
    members = counts.members + (len(known.members) if known is not None else 0)
    state = known.state if known is not None else None
    return GroupView(
        name=name,
        topics=sorted({lag.topic for lag in lags}),
        members=members,
        lag=sum(lag.lag for lag in lags),
        parked_keys=counts.parked_keys,
        dead_letters=counts.dead_letters,
        state=state or ("STABLE" if members else "EMPTY"),
        foreign=foreign,
    )
