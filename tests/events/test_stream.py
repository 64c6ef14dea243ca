"""From publish to effect: one behaviour, whichever log carries the events."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from pydantic import BaseModel

from tests.events.world import World, world
from tests.lab.poll import eventually
from trilho import Tx
from trilho.events.event import Event
from trilho.events.retry import Retry


class Order(BaseModel):
    order_id: str
    total: float


OWNERS = "SELECT count(DISTINCT owner), count(*) FROM trilho.offsets WHERE owner IS NOT NULL"


@pytest.fixture(params=["postgres", "kafka"])
def stream(request: pytest.FixtureRequest, database: str) -> Iterator[World]:
    """A world on each of the logs."""
    with world(database, request.getfixturevalue("kafka") if request.param == "kafka" else None) as made:
        yield made


def test_event_reaches_the_handler_with_its_envelope(stream: World) -> None:
    seen: list[Event[Order]] = []

    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"))
    def handle(event: Event[Order]) -> None:
        seen.append(event)

    stream.relay()
    stream.consumer()
    order = Order(order_id="o-1", total=2.5)
    published = stream.app.bus.publish(stream.name("orders"), order, key="o-1", headers={"x": "ç"})
    stream.read(stream.name("g"))
    [event] = seen
    assert (event.id, event.topic, event.key, event.data) == (
        published.id,
        stream.name("orders"),
        "o-1",
        order,
    )
    assert (event.type, event.source, event.headers, event.offset) == ("Order", "/streams", {"x": "ç"}, 0)
    assert event.correlation_id == event.id


def test_event_of_a_rolled_back_transaction_is_never_seen(stream: World) -> None:
    seen: list[dict[str, object]] = []

    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"))
    def handle(event) -> None:  # type: ignore[no-untyped-def]
        seen.append(event)

    stream.relay()
    stream.consumer()
    with suppress(ZeroDivisionError), stream.app.transaction():
        stream.app.bus.publish(stream.name("orders"), {"n": 0})
        raise ZeroDivisionError
    with stream.app.transaction():
        stream.app.bus.publish(stream.name("orders"), {"n": 1})
    stream.read(stream.name("g"))
    assert seen == [{"n": 1}]


def test_events_of_a_key_arrive_in_order_and_each_group_sees_all(stream: World) -> None:
    seen: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    for group, arrived in seen.items():

        def handle(event: Event[dict[str, int]], arrived: list[tuple[str, int]] = arrived) -> None:
            arrived.append((str(event.key), event.data["n"]))

        stream.app.bus.subscribe(stream.name("numbers"), group=stream.name(group))(handle)
    stream.relay()
    stream.consumer()
    for n in range(30):
        stream.app.bus.publish_many(stream.name("numbers"), [(f"k{n % 3}", {"n": n * 10 + i}) for i in range(10)])
    stream.read(stream.name("a"))
    stream.read(stream.name("b"))
    for events in seen.values():
        assert len(events) == 300
        for key in ("k0", "k1", "k2"):
            numbers = [n for k, n in events if k == key]
            assert numbers == sorted(numbers)


def test_effects_jobs_and_offset_are_one_commit(stream: World) -> None:
    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"), batch=10)
    def handle(event: dict[str, str], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES (%s, 'done')", (event["id"],))
        stream.app.bus.publish(stream.name("done"), event, key=event["id"])

    @stream.app.bus.subscribe(stream.name("done"), group=stream.name("after"))
    async def after(event: dict[str, str], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES (%s, 'after')", (event["id"],))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many(stream.name("orders"), [(f"o{n}", {"id": f"o{n}"}) for n in range(100)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(200,)])
    stream.read(stream.name("g"))
    stream.read(stream.name("after"))
    assert stream.query("SELECT count(DISTINCT (key, value)) FROM effects") == [(200,)]


def test_failing_event_parks_its_key_and_all_others_flow(stream: World) -> None:
    broken = {"on": True}

    @stream.app.bus.subscribe(
        stream.name("orders"), group=stream.name("g"), retry=Retry(attempts=100, delay=0.2, longest=0.2)
    )
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        if event.data["n"] == 5 and broken["on"]:
            raise ValueError("not yet")
        tx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, str(event.data["n"])))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many(
        stream.name("orders"), [("bad" if n % 5 == 0 else f"k{n}", {"n": n}) for n in range(40)]
    )
    stream.read(stream.name("g"))
    assert stream.query("SELECT count(*) FROM effects") == [(33,)]
    assert stream.query("SELECT value FROM effects WHERE key = 'bad'") == [("0",)]
    broken["on"] = False
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.parked_keys"), lambda rows: rows == [(0,)])
    assert stream.query("SELECT value FROM effects WHERE key = 'bad'") == [(str(n),) for n in range(0, 40, 5)]
    assert stream.query("SELECT count(*) FROM trilho.parked_events") == [(0,)]


def test_event_out_of_attempts_becomes_a_dead_letter_and_its_key_goes_on(stream: World) -> None:
    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"), retry=Retry(attempts=3, delay=0.05))
    def handle(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(10 // event["n"]),))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many(stream.name("orders"), [("k", {"n": n}) for n in (5, 0, 2)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(2,)])
    [(data, attempts, error)] = stream.query("SELECT data, attempts, error FROM trilho.dead_letters")
    assert (json.loads(data), attempts) == ({"n": 0}, 3)
    assert "ZeroDivisionError" in error
    assert stream.query("SELECT value FROM effects") == [("2",), ("5",)]


def test_partitions_are_shared_and_move_when_a_member_leaves(stream: World) -> None:
    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"))
    def handle(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))

    stream.relay()
    stream.app.bus.publish_many(stream.name("orders"), [(str(n), {"n": n}) for n in range(50)])
    first = stream.consumer()
    stream.read(stream.name("g"))
    stream.consumer()
    eventually(lambda: stream.query(OWNERS), lambda rows: rows == [(2, 6)])
    first()
    eventually(lambda: stream.query(OWNERS), lambda rows: rows == [(1, 6)])
    stream.app.bus.publish_many(stream.name("orders"), [(str(n), {"n": n}) for n in range(50, 100)])
    stream.read(stream.name("g"))
    assert stream.query("SELECT count(*), count(DISTINCT value) FROM effects") == [(100, 100)]


def test_foreign_database_that_is_away_parks_the_event_and_stops_no_other(stream: World) -> None:
    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"), retry=Retry(attempts=100, delay=0.1))
    def handle(event: dict[str, int], tx: Tx) -> None:
        if event["n"] == 3:
            psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))

    stream.streams.create(stream.name("orders"), 1)
    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many(stream.name("orders"), [(f"k{n}", {"n": n}) for n in range(8)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(7,)])
    assert stream.query("SELECT lane FROM trilho.parked_keys") == [("key:k3",)]


def test_long_handler_outside_of_transactions_counts_event_by_event(stream: World) -> None:
    seen: list[int] = []

    @stream.app.bus.subscribe(
        stream.name("orders"), group=stream.name("g"), transactional=False, retry=Retry(attempts=100, delay=0.1)
    )
    async def handle(event: dict[str, int]) -> None:
        seen.append(event["n"])
        if event["n"] == 3 and seen.count(3) < 3:
            raise ValueError("not yet")

    stream.streams.create(stream.name("orders"), 1)
    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many(stream.name("orders"), [(f"k{n}", {"n": n}) for n in range(6)])
    stream.read(stream.name("g"))
    eventually(lambda: sorted(seen), lambda values: values == [0, 1, 2, 3, 3, 3, 4, 5])


def test_busy_lane_is_let_go_when_another_member_comes(stream: World) -> None:
    """A lane with work for hours is not kept until it is idle."""

    @stream.app.bus.subscribe(stream.name("orders"), group=stream.name("g"), batch=1)
    def handle(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))
        threading.Event().wait(0.02)

    stream.relay()
    stream.app.bus.publish_many(stream.name("orders"), [(str(n), {"n": n}) for n in range(600)])
    stream.consumer()
    eventually(lambda: len(stream.effects()), lambda count: count > 0)
    stream.consumer()
    eventually(lambda: stream.query(OWNERS), lambda rows: rows == [(2, 6)])
    assert len(stream.effects()) < 500
    stream.read(stream.name("g"), 6)
    assert sorted(map(int, stream.effects())) == list(range(600))


def test_member_that_was_taken_for_dead_enters_its_groups_again(stream: World) -> None:
    members, topic, group = "SELECT count(*) FROM trilho.group_members", stream.name("t"), stream.name("g")
    stream.subscribe(topic, group)
    stream.relay()
    stream.consumer()
    eventually(lambda: stream.query(members), lambda rows: rows == [(1,)])
    stream.query("DELETE FROM trilho.group_members")
    eventually(lambda: stream.query(members), lambda rows: rows == [(1,)])
    stream.app.bus.publish(topic, {"n": 1})
    eventually(stream.effects, lambda seen: seen == ["1"], timeout=30)
