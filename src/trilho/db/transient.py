"""Failures of a transaction that lie in nobody's code: serialization, deadlock, a server that goes away."""

import psycopg

_STATES = ("40001", "40P01", "57P01", "57P02", "57P03", "25P03")


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed when it is done again."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, psycopg.Error) and (
            cause.sqlstate in _STATES or (cause.sqlstate is None and isinstance(cause, psycopg.OperationalError))
        ):
            return True
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    return False
