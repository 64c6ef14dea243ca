"""Statements that meet bursts must not be planned for the table that PostgreSQL last counted."""

from tests.lab.database import connect
from trilho.events.store import SQL

FILL = """
INSERT INTO trilho.outbox (shard, hash, topic, id, type, time, attributes, data, content_type)
SELECT n %% 8, n, 'orders', n::text, 'T', now(), '{}', '{}', 'application/json' FROM generate_series(1, %s) n"""
VALUES = {"shards": [0, 1], "floors": [0, 0], "limit": 500, "partitions": 6, "retention": 60.0}


def test_relay_finds_its_batch_by_place_in_an_outbox_that_was_empty_when_it_was_counted(database: str) -> None:
    with connect(database) as connection:
        connection.execute(FILL, (2000,))
        connection.execute("DELETE FROM trilho.outbox")
        connection.execute("ANALYZE trilho.outbox")
        connection.execute(FILL, (2000,))
        plan = "\n".join(row[0] for row in connection.execute(("EXPLAIN " + SQL["move"]).encode(), VALUES))
        deleting = plan[plan.index("Delete on outbox") :]
        assert "Tid Scan on outbox" in deleting
        assert len(connection.execute(SQL["move"].encode(), VALUES).fetchall()) == 2
