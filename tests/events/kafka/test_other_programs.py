"""kafka-python, aiokafka and kcat write what our handlers read, and read what our applications publish."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer

from tests.events.world import World, world
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import Session, missing
from trilho import Event

KEYS = [f"chave-{n}" for n in range(8)]
PARTITIONS = 6


@dataclass(frozen=True)
class Seen:
    """A message as another program has it."""

    partition: int
    key: str
    value: Any
    headers: Mapping[str, str]


Write: TypeAlias = Callable[[str, str, Mapping[str, Any]], dict[str, int]]
"""Sends one message of each key to a topic; the partitions that they went to."""
Read: TypeAlias = Callable[[str, str, int], list[Seen]]
"""So many messages of a topic, from its beginning."""


def seen(message: Any) -> Seen:
    headers = {name: value.decode() for name, value in message.headers}
    return Seen(message.partition, message.key.decode(), json.loads(message.value), headers)


# ---- kafka-python


def write_with_kafka_python(bootstrap: str, topic: str, values: Mapping[str, Any]) -> dict[str, int]:
    producer = KafkaProducer(bootstrap_servers=[bootstrap])
    sent = {key: producer.send(topic, json.dumps(value).encode(), key=key.encode()) for key, value in values.items()}
    producer.close()
    return {key: future.get(timeout=10).partition for key, future in sent.items()}


def read_with_kafka_python(bootstrap: str, topic: str, count: int) -> list[Seen]:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=[bootstrap],
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        consumer_timeout_ms=15_000,
    )
    try:
        return [seen(next(consumer)) for _ in range(count)]
    finally:
        consumer.close()


# ---- aiokafka


def write_with_aiokafka(bootstrap: str, topic: str, values: Mapping[str, Any]) -> dict[str, int]:
    async def write() -> dict[str, int]:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            sent = [producer.send_and_wait(topic, json.dumps(v).encode(), key=k.encode()) for k, v in values.items()]
            return {key: place.partition for key, place in zip(values, await asyncio.gather(*sent), strict=True)}

    return asyncio.run(write())


def read_with_aiokafka(bootstrap: str, topic: str, count: int) -> list[Seen]:
    async def read() -> list[Seen]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        async with consumer, asyncio.timeout(15):
            return [seen(await consumer.getone()) for _ in range(count)]

    return asyncio.run(read())


# ---- kcat


def kcat(bootstrap: str, topic: str, *arguments: str, given: str = "") -> str:
    program = shutil.which("kcat") or missing("kcat", "apt-get install kcat")
    command = [str(program), "-q", "-b", bootstrap, "-t", topic, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def write_with_kcat(bootstrap: str, topic: str, values: Mapping[str, Any]) -> dict[str, int]:
    # librdkafka has another partitioner unless it is told to do as Kafka's own client does.
    lines = "".join(f"{key}={json.dumps(value)}\n" for key, value in values.items())
    kcat(bootstrap, topic, "-P", "-K=", "-X", "partitioner=murmur2_random", given=lines)
    listed = kcat(bootstrap, topic, "-C", "-e", "-o", "beginning", "-f", "%k %p\n")
    return {key: int(partition) for key, partition in (line.split() for line in listed.splitlines())}


def read_with_kcat(bootstrap: str, topic: str, count: int) -> list[Seen]:
    committed = ("-X", "isolation.level=read_committed")
    listed = kcat(bootstrap, topic, "-C", "-e", "-o", "beginning", *committed, "-f", "%p\t%k\t%s\t%h\n")
    found = []
    for partition, key, value, headers in (line.split("\t") for line in listed.splitlines()):
        pairs = dict(pair.split("=", 1) for pair in headers.split(","))
        found.append(Seen(int(partition), key, json.loads(value), pairs))
    assert len(found) == count
    return found


PROGRAMS: dict[str, tuple[Write, Read]] = {
    "kafka-python": (write_with_kafka_python, read_with_kafka_python),  # type: ignore[dict-item]
    "aiokafka": (write_with_aiokafka, read_with_aiokafka),  # type: ignore[dict-item]
    "kcat": (write_with_kcat, read_with_kcat),  # type: ignore[dict-item]
}

program = pytest.mark.parametrize(("write", "read"), PROGRAMS.values(), ids=PROGRAMS)


@dataclass
class Shared:
    """One application for all programs, its handlers and what they got."""

    world: World
    got: list[Event[dict[str, Any]]]


@pytest.fixture(scope="module")
def shared(session: Session, postgres_server: str, template: str) -> Iterator[Shared]:
    url, got = databases.create(postgres_server, template=template), []  # type: ignore[var-annotated]
    with world(url, session.url("kafka")) as made:
        topics = [made.name(name) for name in PROGRAMS]
        for topic in topics:
            made.streams.create(topic, PARTITIONS)
            made.streams.create(f"{topic}.ours", PARTITIONS)

        @made.app.bus.subscribe(*topics, group=made.name("g"))
        def handle(event: Event[dict[str, Any]]) -> None:
            got.append(event)

        made.relay()
        made.consumer()
        yield Shared(made, got)
    databases.drop(url)


@program
def test_handler_gets_what_a_plain_client_sends(
    shared: Shared, write: Write, read: Read, request: pytest.FixtureRequest
) -> None:
    ours, name = shared.world, request.node.callspec.id
    topic, sent = ours.name(name), {key: {"n": n, "name": "ç"} for n, key in enumerate(KEYS)}
    partitions = write(ours.kafka or "", topic, sent)
    mine = eventually(
        lambda: [event for event in list(shared.got) if event.topic == topic],
        lambda events: len(events) == len(KEYS),
        timeout=20,
    )
    assert {event.key: event.data for event in mine} == sent
    assert {event.key: event.partition for event in mine} == partitions
    assert {event.type for event in mine} == {topic}
    assert len({event.id for event in mine}) == len(KEYS)
    assert [event.id for event in mine] == [event.correlation_id or event.id for event in mine]


@program
def test_plain_client_reads_what_our_application_publishes(
    shared: Shared, write: Write, read: Read, request: pytest.FixtureRequest
) -> None:
    ours, name = shared.world, request.node.callspec.id
    topic = f"{ours.name(name)}.ours"
    published = ours.app.bus.publish_many(topic, [(key, {"n": n, "name": "ç"}) for n, key in enumerate(KEYS)])
    ours.moved()
    messages = read(ours.kafka or "", topic, len(KEYS))
    assert {message.key: message.value for message in messages} == {
        key: {"n": n, "name": "ç"} for n, key in enumerate(KEYS)
    }
    assert {message.headers["ce_id"] for message in messages} == {one.id for one in published}
    [first, *_] = messages
    assert first.headers["ce_specversion"] == "1.0"
    assert (first.headers["ce_type"], first.headers["ce_source"]) == (topic, "/streams")
    assert first.headers["content-type"] == "application/json"
    where = write(ours.kafka or "", topic, {message.key: message.value for message in messages})
    assert where == {message.key: message.partition for message in messages}  # a key has one partition for everybody
