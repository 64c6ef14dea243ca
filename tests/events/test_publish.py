"""What a publisher may give, and what it is told otherwise; nothing is written then."""

import asyncio
import dataclasses
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy.orm import Session

from tests.events.world import Stream
from trilho.errors import ConfigurationError, EventSchemaError, PayloadTooLarge
from trilho.events.envelope import Attributes
from trilho.events.partition import hash_of, murmur2, shard_of
from trilho.testing import Harness
from trilho.trace import Trace


class Order(BaseModel):
    order_id: str
    total: float


@dataclasses.dataclass
class Paid:
    order_id: str


def rows(stream: Stream) -> list[tuple[Any, ...]]:
    return stream.query("SELECT topic, key, type, data, content_type FROM trilho.outbox ORDER BY position")


def test_models_dataclasses_dicts_and_bytes_are_stored_as_they_are(stream: Stream) -> None:
    bus = stream.app.bus
    bus.publish("t", Order(order_id="a", total=1.5), key="k")
    bus.publish("t", Paid("a"), key=7, type="paid")
    bus.publish("t", {"á": [1, None]}, key=b"\xff")
    bus.publish("t", b"\x00\x01")
    assert rows(stream) == [
        ("t", b"k", "Order", b'{"order_id":"a","total":1.5}', "application/json"),
        ("t", b"7", "paid", b'{"order_id":"a"}', "application/json"),
        ("t", b"\xff", "t", '{"á":[1,null]}'.encode(), "application/json"),
        ("t", None, "t", b"\x00\x01", "application/octet-stream"),
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ç", "x" * 250, "a/b", "a\x00"])
def test_topic_name_that_kafka_refuses_is_refused_here(stream: Stream, name: str) -> None:
    with pytest.raises(ValueError, match="is no topic name"):
        stream.app.bus.publish(name, {})
    assert rows(stream) == []


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"data": {"x": object()}}, TypeError, "cannot be stored as JSON"),
        ({"data": {"x": "y" * 2_000_000}}, PayloadTooLarge, "above the limit of 1000000"),
        ({"data": b"y" * 2_000_000}, PayloadTooLarge, "above the limit of 1000000"),
        ({"data": {}, "key": "k" * 1_000_000}, PayloadTooLarge, "the key of an event has 1000000 bytes"),
        ({"data": {}, "key": ["a"]}, TypeError, "a key is text, bytes, an integer or a UUID, not list"),
        ({"data": {}, "headers": {"x": 1}}, TypeError, "header 'x' must be text, not int"),
        ({"data": {}, "headers": {"x": "y" * 20_000}}, PayloadTooLarge, "the headers of an event"),
        ({"data": {}, "headers": {"ce_id": "1"}}, ValueError, "header 'ce_id' is the envelope's"),
        ({"data": {}, "headers": {"Ce_Anything": "1"}}, ValueError, "header 'Ce_Anything' is the envelope's"),
        ({"data": {}, "headers": {"traceparent": "1"}}, ValueError, "header 'traceparent' is the envelope's"),
        ({"data": {}, "headers": {"Content-Type": "1"}}, ValueError, "header 'Content-Type' is the envelope's"),
        ({"data": {}, "type": "t" * 1_000_000}, ValueError, "type must be a text of 1 to 255 characters without NUL"),
        ({"data": {}, "type": "a\0b"}, ValueError, "type must be a text of 1 to 255 characters without NUL"),
        ({"data": {}, "type": 5}, ValueError, "type must be a text of 1 to 255 characters without NUL, not 5"),
    ],
)
def test_what_cannot_be_published_is_named(
    stream: Stream, arguments: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        stream.app.bus.publish("t", **arguments)
    assert rows(stream) == []


def test_data_that_does_not_fit_the_schema_fails_at_the_publisher_with_the_field(stream: Stream) -> None:
    stream.app.bus.topic("orders", schema=Order)
    with pytest.raises(EventSchemaError, match="topic 'orders': total: Input should be a valid number"):
        stream.app.bus.publish("orders", {"order_id": "a", "total": "much"})
    stream.app.bus.publish("orders", {"order_id": "a", "total": "2"})
    assert [row[2:4] for row in rows(stream)] == [("Order", b'{"order_id":"a","total":2.0}')]


def test_topic_declared_twice_and_differently_is_an_error(stream: Stream) -> None:
    stream.app.bus.topic("orders", partitions=3)
    stream.app.bus.topic("orders", partitions=3)
    with pytest.raises(ConfigurationError, match="declared twice, and differently"):
        stream.app.bus.topic("orders", partitions=4)


def test_publish_can_be_awaited_in_a_transaction_and_outside_of_it(stream: Stream) -> None:
    async def main() -> None:
        async with stream.app.atransaction():
            await stream.app.bus.publish("t", {"n": 1})
            await stream.app.bus.apublish("t", {"n": 2})
        await stream.app.bus.apublish("t", {"n": 3})
        await stream.app.database.dispose()

    asyncio.run(main())
    assert [row[3] for row in rows(stream)] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


def test_event_of_a_rolled_back_savepoint_is_dropped(stream: Stream) -> None:
    with stream.app.transaction() as tx:
        stream.app.bus.publish("t", {"n": 1})
        with suppress(ZeroDivisionError), tx.savepoint():
            stream.app.bus.publish("t", {"n": 2})
            raise ZeroDivisionError
        tx.session.connection()
    assert [row[3] for row in rows(stream)] == [b'{"n":1}']


def test_event_leaves_with_a_joined_session_or_connection(stream: Stream) -> None:
    with Session(stream.app.database.engine) as session:
        stream.app.join(session).publish("t", {"n": 1}, key="k")
        session.rollback()
        stream.app.join(session).publish("t", {"n": 2}, key="k")
        session.commit()
    with stream.app.database.open_connection() as connection, connection.transaction(force_rollback=True):
        stream.app.join(connection).publish("t", {"n": 3})
    with stream.app.database.open_connection() as connection, connection.transaction():
        stream.app.join(connection).publish("t", {"n": 4})
    assert [row[3] for row in rows(stream)] == [b'{"n":2}', b'{"n":4}']


def test_event_published_by_a_job_names_it_as_its_cause(stream: Stream) -> None:
    @stream.app.task(name="publishes")
    def publishes() -> None:
        stream.app.bus.publish("t", {})

    with Harness(stream.app, stream.url) as trilho:
        job = publishes.delay()
        trilho.run_until_idle()
    [(text,)] = stream.query("SELECT attributes FROM trilho.outbox")
    attributes = Attributes.loaded(text)
    assert (attributes.correlation_id, attributes.causation_id) == (job.id, job.id)


def test_keys_are_hashed_as_kafka_does() -> None:
    # From the tests of Kafka's Java client, as signed numbers.
    known = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    assert {key: murmur2(key.encode()) - 2**32 for key in known} == known


@given(st.binary(max_size=40))
def test_a_key_has_one_hash_and_one_lane(key: bytes) -> None:
    assert hash_of(key) == hash_of(key) >= 0
    assert 0 <= shard_of("t", hash_of(key)) < 8


@given(
    st.dictionaries(st.text(max_size=5).map("x-{}".format), st.text(max_size=5), max_size=3),
    st.none() | st.text(min_size=1),
    st.none() | st.text(min_size=1),
)
def test_envelope_survives_its_row(headers: dict[str, str], correlation: str | None, causation: str | None) -> None:
    attributes = Attributes.of("/shop", "id", Trace(correlation, causation), headers)
    assert Attributes.loaded(attributes.dumped()) == attributes
