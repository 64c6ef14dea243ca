"""A handler's trouble with somebody else's database is its own."""

import psycopg

from trilho.db.transient import is_transient


def test_lost_connection_counts_as_nobodys_only_where_ours_was_harmed() -> None:
    error = psycopg.OperationalError("connection refused")
    assert is_transient(error, ours_was_harmed=True)
    assert not is_transient(error, ours_was_harmed=False)
    assert is_transient(psycopg.errors.DeadlockDetected(), ours_was_harmed=False)
