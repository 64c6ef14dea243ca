"""Which member of a group reads which partition of the PostgreSQL log: the same answer everywhere, without talking."""

from collections.abc import Collection, Mapping
from uuid import UUID

Members = Mapping[UUID, Collection[str] | None]
"""The members of a group, each with its topics; None is all."""


def dealt(members: Members, topics: Mapping[str, int], me: UUID) -> dict[str, list[int]]:
    """Deal the partitions of all topics of the group out, each to who has the fewest of those who read it.

    `topics` are names with numbers of partitions; returns mine.
    """
    loads = dict.fromkeys(sorted(members), 0)
    mine: dict[str, list[int]] = {}
    for topic, count in sorted(topics.items()):
        readers = [member for member in loads if _reads(members[member], topic)]
        for partition in range(count if readers else 0):
            owner = min(readers, key=loads.__getitem__)
            loads[owner] += 1
            if owner == me:
                mine.setdefault(topic, []).append(partition)
    return mine


def _reads(topics: Collection[str] | None, topic: str) -> bool:
    return topics is None or topic in topics
