"""Sagas: Trilho beside DBOS on the same PostgreSQL."""

WARM_UP = 48
"""Runs before those that are measured: connections are open then, statements prepared, modules loaded."""
