"""Texts of arguments for events and Flower: as Celery's `saferepr`, without its price where `repr` says so, too."""

from typing import Any

_PLAIN = frozenset({int, float, bool, type(None)})
_NESTED = frozenset({tuple, list, dict})

LEVELS = 3
"""Celery leaves out what lies deeper than its setting `task_repr_maxlevels`, which must not be less for this."""


def plain_repr(value: Any, longest: int) -> str | None:
    """The `repr` of a value of plain parts, if it has at most so many characters; None asks for Celery's own."""
    if not _is_plain(value, LEVELS):
        return None
    text = repr(value)
    return text if len(text) < longest else None


def _is_plain(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isprintable() and "'" not in value and "\\" not in value)
    if kind in _PLAIN:
        return True
    if levels == 0 or kind not in _NESTED:
        return False
    for each in value.values() if kind is dict else value:  # not all(): this is the dearest part of many jobs at once
        if not _is_plain(each, levels - 1):
            return False
    return kind is not dict or all(type(key) is str and _is_plain(key, 0) for key in value)
