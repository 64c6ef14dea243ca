"""Sagas: Trilho beside DBOS on the same PostgreSQL."""
