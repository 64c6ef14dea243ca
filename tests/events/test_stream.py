"""From publish to effect on the PostgreSQL log."""

import json
from contextlib import suppress

from pydantic import BaseModel

from tests.events.conftest import Stream
from tests.lab.poll import eventually
from trilho import Tx
from trilho.events.event import Event
from trilho.events.retry import Retry


class Order(BaseModel):
    order_id: str
    total: float


def test_event_reaches_the_handler_with_its_envelope(stream: Stream) -> None:
    seen: list[Event[Order]] = []

    @stream.app.bus.subscribe("orders", group="g")
    def handle(event: Event[Order]) -> None:
        seen.append(event)

    stream.relay()
    stream.consumer()
    published = stream.app.bus.publish("orders", Order(order_id="o-1", total=2.5), key="o-1", headers={"x": "ç"})
    stream.drained("g")
    [event] = seen
    assert (event.id, event.topic, event.key, event.data) == (
        published.id,
        "orders",
        "o-1",
        Order(order_id="o-1", total=2.5),
    )
    assert (event.type, event.source, event.headers, event.offset) == ("Order", "/streams", {"x": "ç"}, 0)
    assert event.correlation_id == event.id


def test_event_of_a_rolled_back_transaction_is_never_seen(stream: Stream) -> None:
    seen: list[dict[str, object]] = []

    @stream.app.bus.subscribe("orders", group="g")
    def handle(event) -> None:  # type: ignore[no-untyped-def]
        seen.append(event)

    stream.relay()
    stream.consumer()
    with suppress(ZeroDivisionError), stream.app.transaction():
        stream.app.bus.publish("orders", {"n": 0})
        raise ZeroDivisionError
    with stream.app.transaction():
        stream.app.bus.publish("orders", {"n": 1})
    stream.drained("g")
    assert seen == [{"n": 1}]


def test_events_of_a_key_arrive_in_order_and_each_group_sees_all(stream: Stream) -> None:
    seen: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    for group, arrived in seen.items():

        def handle(event: Event[dict[str, int]], arrived: list[tuple[str, int]] = arrived) -> None:
            arrived.append((str(event.key), event.data["n"]))

        stream.app.bus.subscribe("numbers", group=group)(handle)
    stream.relay()
    stream.consumer()
    for n in range(30):
        stream.app.bus.publish_many("numbers", [(f"k{n % 3}", {"n": n * 10 + i}) for i in range(10)])
    stream.drained("a", "b")
    for events in seen.values():
        assert len(events) == 300
        for key in ("k0", "k1", "k2"):
            numbers = [n for k, n in events if k == key]
            assert numbers == sorted(numbers)


def test_effects_jobs_and_offset_are_one_commit(stream: Stream) -> None:
    @stream.app.bus.subscribe("orders", group="g", batch=10)
    def handle(event: dict[str, str], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES (%s, 'done')", (event["id"],))
        stream.app.bus.publish("done", event, key=event["id"])

    @stream.app.bus.subscribe("done", group="after")
    async def after(event: dict[str, str], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES (%s, 'after')", (event["id"],))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [(f"o{n}", {"id": f"o{n}"}) for n in range(100)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(200,)])
    stream.drained("g", "after")
    assert stream.query("SELECT count(DISTINCT (key, value)) FROM effects") == [(200,)]


def test_failing_event_parks_its_key_and_all_others_flow(stream: Stream) -> None:
    broken = {"on": True}

    @stream.app.bus.subscribe("orders", group="g", retry=Retry(attempts=100, delay=0.2, longest=0.2))
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        if event.data["n"] == 5 and broken["on"]:
            raise ValueError("not yet")
        tx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, str(event.data["n"])))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [("bad" if n % 5 == 0 else f"k{n}", {"n": n}) for n in range(40)])
    stream.drained("g")
    assert stream.query("SELECT count(*) FROM effects") == [(33,)]
    assert stream.query("SELECT value FROM effects WHERE key = 'bad'") == [("0",)]
    broken["on"] = False
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.parked_keys"), lambda rows: rows == [(0,)])
    assert stream.query("SELECT value FROM effects WHERE key = 'bad'") == [(str(n),) for n in range(0, 40, 5)]
    assert stream.query("SELECT count(*) FROM trilho.parked_events") == [(0,)]


def test_event_out_of_attempts_becomes_a_dead_letter_and_its_key_goes_on(stream: Stream) -> None:
    @stream.app.bus.subscribe("orders", group="g", retry=Retry(attempts=3, delay=0.05))
    def handle(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(10 // event["n"]),))

    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [("k", {"n": n}) for n in (5, 0, 2)])
    eventually(lambda: stream.query("SELECT count(*) FROM effects"), lambda rows: rows == [(2,)])
    [(data, attempts, error)] = stream.query("SELECT data, attempts, error FROM trilho.dead_letters")
    assert (json.loads(data), attempts) == ({"n": 0}, 3)
    assert "ZeroDivisionError" in error
    assert stream.query("SELECT value FROM effects") == [("2",), ("5",)]


def test_partitions_are_shared_and_move_when_a_member_leaves(stream: Stream) -> None:
    @stream.app.bus.subscribe("orders", group="g")
    def handle(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))

    stream.relay()
    stream.app.bus.publish_many("orders", [(str(n), {"n": n}) for n in range(50)])
    first = stream.consumer()
    stream.drained("g")
    stream.consumer()
    owners = "SELECT count(DISTINCT owner), count(*) FROM trilho.offsets WHERE owner IS NOT NULL"
    eventually(lambda: stream.query(owners), lambda rows: rows == [(2, 6)])
    first()
    eventually(lambda: stream.query(owners), lambda rows: rows == [(1, 6)])
    stream.app.bus.publish_many("orders", [(str(n), {"n": n}) for n in range(50, 100)])
    stream.drained("g")
    assert stream.query("SELECT count(*), count(DISTINCT value) FROM effects") == [(100, 100)]
