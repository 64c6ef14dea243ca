"""The fixtures of `tests.jobs.shop`."""

from tests.jobs.shop import app, connection, query, trilho, wakeups

__all__ = ["app", "connection", "query", "trilho", "wakeups"]
