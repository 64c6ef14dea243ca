"""Failures of a transaction that lie in nobody's code: serialization, deadlock, a server that goes away."""

from collections.abc import Iterator

import psycopg

_CONTENTION = ("40001", "40P01")
_STATES = (*_CONTENTION, "57P01", "57P02", "57P03", "25P03")


def is_transient(error: BaseException, ours_was_harmed: bool = True) -> bool:
    """Whether the same work may well succeed when it is done again.

    An error does not say whose connection it came from: `ours_was_harmed` tells, for a body may use other databases.
    """
    return ours_was_harmed and any(_lies_in_nobody(cause) for cause in _told_by_postgresql(error))


def is_contention(error: BaseException) -> bool:
    """Whether it is a deadlock or a serialization failure: others did the same work at the same time."""
    return any(cause.sqlstate in _CONTENTION for cause in _told_by_postgresql(error))


def _told_by_postgresql(error: BaseException) -> Iterator[psycopg.Error]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, psycopg.Error):
            yield cause
        context = None if cause.__suppress_context__ else cause.__context__
        cause = getattr(cause, "orig", None) or cause.__cause__ or context


def _lies_in_nobody(error: psycopg.Error) -> bool:
    lost = error.sqlstate is None and isinstance(error, psycopg.OperationalError)
    return lost or error.sqlstate in _STATES
