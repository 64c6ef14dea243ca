"""Statements that meet bursts must not be planned for the table that PostgreSQL last counted."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.database import Connection, connect
from trilho.events.kafka.store import SQL as KAFKA
from trilho.events.store import SQL

FILL = """
INSERT INTO trilho.outbox (shard, hash, topic, id, type, time, attributes, data, content_type)
SELECT n %% 8, n, 'orders', n::text, 'T', now(), '{}', '{}', 'application/json' FROM generate_series(1, %s) n"""
CHOOSE = """
UPDATE trilho.shards s SET cluster = 'test', batch = (
    SELECT array_agg(position ORDER BY position) FROM trilho.outbox o WHERE o.shard = s.shard)"""
VALUES = {"shards": [0, 1], "floors": [0, 0], "limit": 500, "partitions": 6, "retention": 60.0}


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """To an outbox that was empty when it was counted, and has 2,000 events."""
    with connect(database) as connection:
        connection.execute(FILL, (2000,))
        connection.execute("DELETE FROM trilho.outbox")
        connection.execute("ANALYZE trilho.outbox")
        connection.execute(FILL, (2000,))
        yield connection


def deletion(connection: Connection, statement: str, values: dict[str, Any]) -> str:
    plan = "\n".join(row[0] for row in connection.execute(("EXPLAIN " + statement).encode(), values))
    return plan[plan.index("Delete on outbox") :]


def test_relay_finds_its_batch_by_place(connection: Connection) -> None:
    assert "Tid Scan on outbox" in deletion(connection, SQL["move"], VALUES)
    assert len(connection.execute(SQL["move"].encode(), VALUES).fetchall()) == 2


def test_relay_into_kafka_deletes_what_is_out_by_place(connection: Connection) -> None:
    connection.execute(CHOOSE)
    finish, values = KAFKA["finish"], {"shards": [0, 1]}
    assert "Tid Scan on outbox" in deletion(connection, finish, values)
    assert "Join Filter" not in deletion(connection, finish, values)
    assert [row[2] for row in connection.execute(finish.encode(), values)] == [250, 250]
    assert connection.execute("SELECT count(*) FROM trilho.outbox WHERE shard < 2").fetchone() == (0,)
