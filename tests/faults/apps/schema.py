"""The tables of the fault application, in its own database."""

import psycopg

from tests.lab.ledger import EFFECTS_TABLE

COUNTERS_TABLE = "CREATE TABLE IF NOT EXISTS counters (name text PRIMARY KEY, value int NOT NULL DEFAULT 0)"


def create(connection: psycopg.Connection) -> None:
    """Make them; harmless when they are there."""
    connection.execute(EFFECTS_TABLE)
    connection.execute(COUNTERS_TABLE)
    connection.execute("INSERT INTO counters VALUES ('a', 0), ('b', 0) ON CONFLICT DO NOTHING")
