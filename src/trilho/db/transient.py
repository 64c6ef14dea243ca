"""Failures of a transaction that lie in nobody's code: serialization, deadlock, a server that goes away."""

import psycopg

_STATES = ("40001", "40P01", "57P01", "57P02", "57P03", "25P03")


def is_transient(error: BaseException, ours_was_harmed: bool = True) -> bool:
    """Whether the same work may well succeed when it is done again.

    A lost connection says nothing about whose it was: `ours_was_harmed` tells, for a body may use other databases.
    """
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, psycopg.Error) and _lies_in_nobody(cause, ours_was_harmed):
            return True
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    return False


def _lies_in_nobody(error: psycopg.Error, ours_was_harmed: bool) -> bool:
    lost = error.sqlstate is None and isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _STATES or (lost and ours_was_harmed)
