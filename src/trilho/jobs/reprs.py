"""Texts of arguments for events and Flower: as Celery's `saferepr`, without its price where `repr` says so, too."""

from typing import Any

_PLAIN = frozenset({int, float, bool, type(None)})

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
    if kind in _PLAIN:
        return True
    if kind is str:
        return bool(value.isprintable() and "'" not in value and "\\" not in value)
    if levels == 0:
        return False
    if kind is dict:
        return all(
            type(key) is str and _is_plain(key, 0) and _is_plain(each, levels - 1) for key, each in value.items()
        )
    return kind in (tuple, list) and all(_is_plain(each, levels - 1) for each in value)
