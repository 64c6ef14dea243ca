"""A handler's trouble with somebody else's database is its own."""

import psycopg

from tests.events.conftest import Stream
from tests.lab.poll import eventually
from trilho import Retry, Tx
from trilho.db.transient import is_transient


def test_lost_connection_counts_as_nobodys_only_where_ours_was_harmed() -> None:
    error = psycopg.OperationalError("connection refused")
    assert is_transient(error, ours_was_harmed=True)
    assert not is_transient(error, ours_was_harmed=False)
    assert is_transient(psycopg.errors.DeadlockDetected(), ours_was_harmed=False)


def test_foreign_database_that_is_away_parks_the_event_and_stops_no_other(stream: Stream) -> None:
    @stream.app.bus.subscribe("orders", group="g", retry=Retry(attempts=100, delay=0.1))
    def handle(event: dict[str, int], tx: Tx) -> None:
        if event["n"] == 3:
            psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))

    stream.app.bus.topic("orders", partitions=1)
    with stream.app.database.connection() as connection:
        stream.app.bus.declare(connection)
    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [(f"k{n}", {"n": n}) for n in range(8)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(7,)])
    assert stream.query("SELECT lane FROM trilho.parked_keys") == [("key:k3",)]
