"""Which member of a group reads which partition of the PostgreSQL log: the same answer everywhere, without talking."""

from collections.abc import Sequence
from uuid import UUID


def dealt(members: Sequence[UUID], topics: Sequence[tuple[str, int]], me: UUID) -> dict[str, list[int]]:
    """Deal the partitions of all topics out in turn; returns mine. `topics` are names with numbers of partitions."""
    order = sorted(members)
    if me not in order:
        return {}
    mine: dict[str, list[int]] = {}
    lanes = [(topic, partition) for topic, count in sorted(topics) for partition in range(count)]
    for topic, partition in lanes[order.index(me) :: len(order)]:
        mine.setdefault(topic, []).append(partition)
    return mine
