"""The tree of causes: what stands under what, as one list from top to bottom. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Key: TypeAlias = tuple[str, ...]
"""Kind and id; of a handler also its group."""


@dataclass(frozen=True)
class Node(Generic[T]):
    """Something that happened, and the keys of what may have caused it: the first that is there did."""

    key: Key
    at: datetime
    causes: tuple[Key, ...]
    value: T


def flattened(nodes: Iterable[Node[T]]) -> list[tuple[int, T]]:
    """Each node once, with its depth: causes before what they caused, sisters by time, whatever the causes say."""
    known: dict[Key, Node[T]] = {}
    for node in nodes:
        known.setdefault(node.key, node)
    below: dict[Key | None, list[Node[T]]] = defaultdict(list)
    for node in known.values():
        below[_cause(node, known)].append(node)
    for sisters in below.values():
        sisters.sort(key=lambda node: node.at)
    left = dict(known)
    rows = list(_walk(below[None], below, left))
    while left:  # a circle of causes has no beginning: it is cut at its oldest
        first = min(left.values(), key=lambda node: node.at)
        rows += _walk([first], below, left)
    return rows


def _cause(node: Node[T], known: Mapping[Key, Node[T]]) -> Key | None:
    return next((key for key in node.causes if key in known and key != node.key), None)


def _walk(
    roots: Iterable[Node[T]], below: Mapping[Key | None, list[Node[T]]], left: dict[Key, Node[T]]
) -> Iterable[tuple[int, T]]:
    stack = [(0, node) for node in reversed(list(roots))]
    while stack:
        depth, node = stack.pop()
        if left.pop(node.key, None) is None:
            continue
        yield depth, node.value
        stack += [(depth + 1, child) for child in reversed(below.get(node.key, []))]
