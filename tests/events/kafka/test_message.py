"""Events as Kafka messages: ours come back as they went, and nothing that others write can break a reader."""

from datetime import datetime, timezone
from typing import Any

from confluent_kafka import Message
from hypothesis import example, given
from hypothesis import strategies as st

from trilho.events.envelope import Attributes
from trilho.events.event import BINARY, JSON
from trilho.events.kafka.message import headers_of, stored

LOG = "kafka:cluster:topic"
TIME = datetime(2026, 11, 22, 14, 30, 0, 123456, timezone.utc)
ENVELOPE = st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_source", "content-type", "traceparent", "ce_unknown"])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def received(headers: Any, value: bytes | None = b"{}", time: int = 1000) -> Message:
    """A message as a consumer gets it: header values are bytes."""
    raw = [(name, told.encode() if isinstance(told, str) else told) for name, told in headers]
    return Message("topic", 2, 7, b"key", value, raw, None, (1, time))


@example(id_="i", type_="t", headers={"ce_traceparent": ""}, content_type=JSON)
@given(
    id_=TEXT,
    type_=TEXT,
    headers=st.dictionaries(TEXT, TEXT | st.just("")),
    content_type=st.sampled_from([JSON, BINARY]),
)
def test_event_of_ours_comes_back_as_it_went(id_: str, type_: str, headers: dict[str, str], content_type: str) -> None:
    attributes = Attributes("/shop", "correlation", "cause", "00-abc-def-01", headers).dumped()
    event = stored(received(headers_of(id_, type_, TIME.isoformat(), attributes, content_type), b"[1]"), LOG)
    assert (event.id, event.type, event.time, event.content_type) == (id_, type_, TIME, content_type)
    assert (event.topic, event.partition, event.offset, event.key, event.data) == ("topic", 2, 7, b"key", b"[1]")
    assert Attributes.loaded(event.attributes) == Attributes.loaded(attributes)


@given(
    headers=st.lists(st.tuples(ENVELOPE | TEXT, st.binary() | st.none())),
    value=st.binary() | st.none(),
    time=st.integers(-1, 2**63 - 1),
)
def test_nothing_that_others_write_breaks_a_reader(
    headers: list[tuple[str, bytes | None]], value: bytes | None, time: int
) -> None:
    event = stored(received(headers, value, time), LOG)
    assert "\0" not in event.id + event.type + event.attributes
    assert event.time.tzinfo is not None
    Attributes.loaded(event.attributes)


def test_plain_json_of_other_programs_is_an_event_named_after_its_place() -> None:
    event = stored(received([], None, 1_000), LOG)
    assert (event.id, event.type, event.data, event.content_type) == (f"{LOG}/2/7", "topic", b"null", JSON)
    assert event.time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    assert stored(received([("content-type", "application/cloudevents+json; charset=utf-8")]), LOG).content_type == JSON
    assert stored(received([("content-type", "text/plain")]), LOG).content_type == BINARY


def test_header_of_the_user_cannot_forge_the_envelope() -> None:
    attributes = Attributes("/shop", headers={"ce_id": "forged", "ce_source": "forged"}).dumped()
    event = stored(received(headers_of("true", "type", TIME.isoformat(), attributes, JSON)), LOG)
    loaded = Attributes.loaded(event.attributes)
    assert (event.id, loaded.source, loaded.headers) == ("true", "/shop", {"ce_id": "forged", "ce_source": "forged"})


def test_header_that_is_not_utf_8_is_shown_escaped() -> None:
    event = stored(received([("h", b"\xff\x00a"), ("ce_id", b"\xfe")]), LOG)
    assert (event.id, Attributes.loaded(event.attributes).headers) == ("\\xfe", {"h": "\\xff\\x00a"})
