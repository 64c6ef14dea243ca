"""A session that is idle in a transaction: dead rows stay while it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def idle_in_transaction(database_url: str) -> Iterator[None]:
    """Somebody went for lunch between BEGIN and COMMIT."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield
