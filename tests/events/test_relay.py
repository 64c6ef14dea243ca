"""The relay's lanes, its floors, and what the log keeps."""

from uuid import uuid4

from tests.events.world import Identity, Stream
from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho.db.pool import Connection
from trilho.events import store
from trilho.events.relay import SETTLED, Floors, Relay
from trilho.events.store import Moved
from trilho.events.topic import Topic


def test_relay_that_lost_its_lanes_may_move_nothing(stream: Stream) -> None:
    first, second = uuid4(), uuid4()
    with stream.app.database.connection() as connection:
        shards = store.lease_shards(connection, first, 5.0)
        assert shards == list(range(8))
        assert store.lease_shards(connection, second, 5.0) == []
        connection.execute("UPDATE trilho.shards SET until = '-infinity'")
        assert store.lease_shards(connection, second, 5.0) == shards
        assert store.lock_shards(connection, first, shards) == []
        assert store.lock_shards(connection, second, shards) == shards


def test_moving_keeps_the_order_of_each_key_and_leaves_no_gaps(stream: Stream) -> None:
    stream.app.bus.publish_many("t", [(f"k{n % 7}", {"n": n}) for n in range(500)])
    relay = Relay(stream.app.database, Identity(), tick=0.1)
    with stream.app.database.connection() as connection:
        while stream.query("SELECT 1 FROM trilho.outbox LIMIT 1"):
            relay._lease(connection)
            relay.look(connection)
    for partition, first, last, count in stream.query(
        'SELECT partition, min("offset"), max("offset"), count(*) FROM trilho.log GROUP BY partition'
    ):
        assert (first, last) == (0, count - 1), partition
    number = "(convert_from(data, 'UTF8')::json->>'n')::int"
    for (numbers,) in stream.query(f'SELECT array_agg({number} ORDER BY "offset") FROM trilho.log GROUP BY key'):
        assert numbers == sorted(numbers)


def test_event_that_commits_long_after_later_ones_is_still_moved(stream: Stream) -> None:
    stream.relay()
    with stream.app.transaction() as slow:
        stream.app.bus.publish("t", {"n": "slow"})
        slow.session.connection()
        slow.pending.write_through(slow.raw)
        with stream.app.database.connection() as connection:
            row = stream.app.bus.new_event("t", {"n": "fast"}, None, None, {})
            outbox = stream.app.bus.outbox
            connection.execute(outbox.statement.encode(), outbox.parameters([row]))
        eventually(lambda: stream.query("SELECT count(*) FROM trilho.log"), lambda rows: rows == [(1,)])
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.log"), lambda rows: rows == [(2,)])


def test_floor_is_what_was_moved_some_seconds_ago_and_sometimes_there_is_none() -> None:
    floors = Floors()
    assert floors.of([1, 2], now=0.0) == {1: -1, 2: -1}
    floors.note(Moved(1, 70, 10, ["t"]), now=0.5)
    assert floors.of([1, 2], now=1.0) == {1: -1, 2: -1}
    floors._full_at = 100.0
    assert floors.of([1, 2], now=0.6 + SETTLED) == {1: 70, 2: -1}
    assert floors.of([1, 2], now=100.0) == {1: -1, 2: -1}


def age(connection: Connection, statement: str) -> None:
    connection.execute(statement.encode())


def test_retention_takes_the_oldest_first_and_never_what_is_young(stream: Stream) -> None:
    relay = stream.relay()
    stream.app.bus.publish_many("t", [("k", {"n": n}) for n in range(30)])
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.log"), lambda rows: rows == [(30,)])
    relay.stop()
    with stream.app.database.connection() as connection:
        age(connection, """UPDATE trilho.log SET appended_at = appended_at - interval '8 days' WHERE "offset" < 20""")
        while store.expire_log(connection, limit=7):
            pass
    assert stream.query('SELECT min("offset"), max("offset") FROM trilho.log') == [(20, 29)]
    assert stream.query("SELECT first_offset, next_offset FROM trilho.log_partitions") == [(20, 30)]


def test_topic_that_is_declared_while_its_first_events_move_has_the_partitions_that_were_declared(
    stream: Stream,
) -> None:
    stream.app.bus.publish_many("t", [(f"k{n}", {"n": n}) for n in range(30)])
    with databases.connect(stream.url) as connection, connection.transaction():
        store.declare(connection, [Topic("t", 2)])
        stream.relay()
        eventually(lambda: stream.query("SELECT count(*) FROM pg_locks WHERE NOT granted"), lambda rows: rows != [(0,)])
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.log"), lambda rows: rows == [(30,)])
    assert stream.query("SELECT partition FROM trilho.log_partitions ORDER BY 1") == [(0,), (1,)]
