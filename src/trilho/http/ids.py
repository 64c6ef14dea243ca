"""Ids in paths: what nothing can be called is not asked for, for PostgreSQL refuses such questions."""

from trilho.db.text import escaped


def is_possible(wanted: str, longest: int) -> bool:
    """Whether something may have this id."""
    return 1 <= len(wanted) <= longest and wanted == escaped(wanted)
