"""The relay into a real Kafka: partitions, refusals, topics that come and go, offsets that are lost."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.events.world import Stream
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.topics import Reader
from trilho import Trilho
from trilho.embedded.ports import free_port
from trilho.errors import ConfigurationError
from trilho.events.kafka import store
from trilho.events.kafka.cluster import Cluster
from trilho.events.kafka.marks import Marks
from trilho.events.kafka.outlet import KafkaOutlet
from trilho.events.kafka.sender import Sender
from trilho.events.kafka.shard import Sent
from trilho.events.partition import hash_of, shard_of
from trilho.events.pipes import outlet_of
from trilho.events.store import give_up_shards, lease_shards, lock_shards
from trilho.settings import Settings, load

TIMEOUT = 30.0


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


@pytest.fixture
def topic() -> str:
    return f"relay-{uuid4().hex[:8]}"


@pytest.fixture
def stream(database: str, kafka: str) -> Iterator[Stream]:
    with ExitStack() as stack:
        yield streaming(stack, database, kafka)


def streaming(stack: ExitStack, database: str, kafka: str) -> Stream:
    app = Trilho("streams", database=database, broker="memory://", kafka=kafka)
    stack.callback(app.close)
    stack.callback(app.database.close)
    return Stream(app, database, stack)


def make(admin: AdminClient, name: str, partitions: int, **config: str) -> None:
    topic = NewTopic(name, partitions, config={key.replace("_", "."): value for key, value in config.items()})
    admin.create_topics([topic])[name].result()


def gone(stream: Stream) -> None:
    """The outbox is empty."""
    eventually(lambda: stream.query("SELECT count(*) FROM trilho.outbox"), lambda rows: rows == [(0,)], timeout=TIMEOUT)


def count_of(stream: Stream, topic: str) -> list[tuple[int]]:
    return stream.query("SELECT partitions FROM trilho.topics WHERE name = %s", topic)


def test_event_goes_to_the_partition_of_its_key_in_a_topic_made_as_declared(
    stream: Stream, kafka: str, admin: AdminClient, topic: str
) -> None:
    stream.app.bus.topic(topic, partitions=3, retention=timedelta(hours=1))
    with stream.app.database.connection() as connection:
        stream.app.bus.declare(connection)
    stream.app.bus.publish_many(topic, [(f"k{n % 7}", {"n": n}) for n in range(700)])
    stream.relay()
    with Reader(kafka, (topic,)) as reader:
        reader.read(700)
    assert {key: [value["n"] for value in values] for key, values in reader.values().items()} == {
        f"k{key}": list(range(key, 700, 7)) for key in range(7)
    }
    assert all(message.partition() == hash_of(message.key()) % 3 for message in reader.messages)
    gone(stream)
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3


def test_number_of_partitions_in_kafka_is_adopted(stream: Stream, kafka: str, admin: AdminClient, topic: str) -> None:
    make(admin, topic, 2)
    stream.app.bus.topic(topic, partitions=6)
    with stream.app.database.connection() as connection:
        stream.app.bus.declare(connection)
    stream.relay()
    stream.app.bus.publish_many(topic, [(f"k{n}", {"n": n}) for n in range(20)])
    eventually(lambda: count_of(stream, topic), lambda rows: rows == [(2,)], timeout=TIMEOUT)
    with Reader(kafka, (topic,)) as reader:
        assert len(reader.read(20).values()) == 20


def test_event_that_kafka_refuses_is_a_dead_letter_and_the_others_go_on_in_order(
    stream: Stream, kafka: str, admin: AdminClient, topic: str
) -> None:
    make(admin, topic, 1, max_message_bytes="5000")
    large = {13, 14}
    stream.app.bus.publish_many(
        topic, [("k", {"n": n, "filling": "x" * (10_000 if n in large else 1)}) for n in range(40)]
    )
    stream.relay()
    gone(stream)
    with Reader(kafka, (topic,)) as reader:
        (values,) = reader.read(38).values().values()
    assert [value["n"] for value in values] == [n for n in range(40) if n not in large]
    dead = stream.query(
        """SELECT "group", topic, (convert_from(data, 'UTF8')::json->>'n')::int, error
           FROM trilho.dead_letters ORDER BY number"""
    )
    assert [row[:3] for row in dead] == [(store.GROUP, topic, n) for n in sorted(large)]
    assert all("MSG_SIZE_TOO_LARGE" in row[3] for row in dead)


def test_event_that_cannot_be_written_is_a_dead_letter(stream: Stream, kafka: str, topic: str) -> None:
    stream.app.bus.publish(topic, {"n": 1}, key="k")
    stream.app.bus.publish(topic, {"n": 2}, key="k")
    stream.query(
        "UPDATE trilho.outbox SET attributes = 'no JSON' WHERE position = (SELECT max(position) FROM trilho.outbox)"
    )
    stream.relay()
    gone(stream)
    with Reader(kafka, (topic,)) as reader:
        assert reader.read(1).values() == {"k": [{"n": 1}]}
    assert stream.query("SELECT count(*) FROM trilho.dead_letters") == [(1,)]


def test_options_that_librdkafka_does_not_know_are_told_at_the_start(database: str) -> None:
    app = Trilho("x", database=database, broker="memory://", kafka="127.0.0.1:1")
    app.settings = load(database_url=database, kafka_bootstrap="127.0.0.1:1", kafka_options={"nonsense": 1})
    with pytest.raises(ConfigurationError, match=r"TRILHO_KAFKA_OPTIONS.*nonsense"):
        outlet_of(app.database, lambda: None)


def test_topic_that_is_deleted_and_made_again_gets_the_next_events(
    stream: Stream, kafka: str, admin: AdminClient, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trilho.events.kafka.sender.MESSAGE", 2000)
    stream.relay()
    stream.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(5)])
    gone(stream)
    admin.delete_topics([topic])[topic].result()
    stream.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(5, 10)])
    gone(stream)
    with Reader(kafka, (topic,)) as reader:
        assert [value["n"] for value in reader.read(5).values()["k"]] == [5, 6, 7, 8, 9]


def test_shard_that_another_relay_had_in_between_begins_by_asking_kafka(stream: Stream, kafka: str, topic: str) -> None:
    stream.relay()
    stream.app.bus.publish(topic, {"n": 0}, key="k")
    gone(stream)
    shard = shard_of(topic, hash_of(b"k"))
    with stream.app.database.connection() as connection:
        marks = Marks(Cluster(kafka), store.installation(connection))
    assert marks.committed(shard) == 1
    stream.query("UPDATE trilho.shards SET token = token + 2, last_number = 0")
    for n in range(1, 4):
        stream.app.bus.publish(topic, {"n": n}, key="k")
        gone(stream)
    with Reader(kafka, (topic,)) as reader:
        assert [value["n"] for value in reader.read(4).values()["k"]] == [0, 1, 2, 3]
    assert marks.committed(shard) == 4, "numbers go on behind the last one that Kafka knows"


def test_what_a_relay_found_before_another_one_had_its_shard_does_not_count(
    stream: Stream, kafka: str, topic: str
) -> None:
    """The other one is gone, too, with a batch that is out and in the outbox: nobody sends it again."""
    mine, others, floors = uuid4(), uuid4(), {shard_of(topic, hash_of(b"k")): -1}
    before, late, between = (KafkaOutlet.of(stream.app.database, lambda: None) for _ in range(3))
    (number,) = floors
    with databases.connect(stream.url) as connection:

        def send(outlet: KafkaOutlet, owner: UUID, until: Callable[[], object]) -> None:
            eventually(lambda: [outlet.look(connection, owner, floors), until()][1], timeout=TIMEOUT, every=0.02)

        def all_out() -> bool:
            return stream.query("SELECT count(*) FROM trilho.outbox") == [(0,)]

        stream.app.bus.publish(topic, {"n": 0}, key="k")
        lease_shards(connection, mine, 60)
        send(before, mine, all_out)
        before.leave(connection, mine)
        give_up_shards(connection, mine)
        lease_shards(connection, mine, 0.1)
        late.look(connection, mine, floors)
        eventually(lambda: late._shards[number].answer, timeout=TIMEOUT)
        eventually(lambda: number in lease_shards(connection, others, 60))
        stream.app.bus.publish(topic, {"n": 1}, key="k")
        send(between, others, lambda: between._shards[number].batch)
        eventually(lambda: isinstance(between._shards[number].answer, Sent), timeout=TIMEOUT)
        give_up_shards(connection, others)
        lease_shards(connection, mine, 60)
        send(late, mine, all_out)
        stream.app.bus.publish(topic, {"n": 2}, key="k")
        send(late, mine, all_out)
    with Reader(kafka, (topic,)) as reader:
        assert [value["n"] for value in reader.read(3).values()["k"]] == [0, 1, 2]


def test_batch_whose_offset_kafka_has_lost_waits_until_a_person_says_what_is_out(
    stream: Stream,
    kafka: str,
    admin: AdminClient,
    topic: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trilho.events.kafka.outlet.DOUBT", 0.5)
    stream.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(3)])
    shard = shard_of(topic, hash_of(b"k"))
    with stream.app.database.connection() as connection:
        marks = Marks(Cluster(kafka), store.installation(connection))
    positions = [row[0] for row in stream.query("SELECT position FROM trilho.outbox ORDER BY position LIMIT 2")]
    stream.query(
        "UPDATE trilho.shards SET batch = %s, last_number = 9, cluster = %s WHERE shard = %s",
        positions,
        marks.cluster.identity,
        shard,
    )
    with caplog.at_level(logging.ERROR, "trilho.relay"):
        stream.relay()
        eventually(lambda: caplog.text, lambda text: "relay.in_doubt" in text, timeout=TIMEOUT)
    assert stream.query("SELECT count(*) FROM trilho.outbox") == [(3,)]
    forget = re.search(r"(DELETE .*)\. Then.*(UPDATE .*?)'", caplog.text)
    assert forget is not None
    for statement in forget.groups():
        stream.query(statement)
    gone(stream)
    with Reader(kafka, (topic,)) as reader:
        assert [value["n"] for value in reader.read(1).values()["k"]] == [2]


def test_publishers_go_on_while_kafka_is_away_and_the_log_names_the_setting(
    database: str, topic: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trilho.events.kafka.cluster.PATIENCE", 1.0)
    with ExitStack() as stack, caplog.at_level(logging.WARNING, "trilho.relay"):
        stream = streaming(stack, database, f"127.0.0.1:{free_port()}")
        stream.relay()
        stream.app.bus.publish(topic, {"n": 1})
        eventually(lambda: caplog.text, lambda text: "waits_for_kafka" in text, timeout=TIMEOUT)
        stream.app.bus.publish(topic, {"n": 2})
        assert stream.query("SELECT count(*) FROM trilho.outbox") == [(2,)]
    assert "TRILHO_KAFKA_BOOTSTRAP" in caplog.text
    assert "refused" in caplog.text


def test_producer_that_never_returns_is_replaced_and_can_write_nothing_when_it_goes_on_after_all(
    stream: Stream, kafka: str, topic: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trilho.events.kafka.shard.HANGS", 1.0)
    send, goes_on, ended = Sender.send, threading.Event(), threading.Event()

    def hang(sender: Sender, *what: Any) -> None:
        monkeypatch.setattr(Sender, "send", send)
        goes_on.wait(TIMEOUT)
        try:
            send(sender, *what)
        finally:
            ended.set()

    monkeypatch.setattr(Sender, "send", hang)
    stream.relay()
    stream.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(10)])
    gone(stream)
    goes_on.set()
    assert ended.wait(TIMEOUT)
    stream.app.bus.publish(topic, {"n": 10}, key="k")
    with Reader(kafka, (topic,)) as reader:
        assert [value["n"] for value in reader.read(11).values()["k"]] == list(range(11))
    assert "relay.hangs" in caplog.text


def test_secrets_of_the_options_are_not_shown() -> None:
    options = {"sasl.password": "hunter2", "sasl.mechanism": "PLAIN"}
    settings = Settings(kafka_bootstrap="127.0.0.1:1", kafka_options=options)
    assert "hunter2" not in repr(settings) + repr(Cluster.of(settings))


def test_shards_that_a_relay_of_the_postgresql_log_still_has_are_none_once_a_process_is_on_kafka(database: str) -> None:
    owner = uuid4()
    with databases.connect(database) as connection:
        shards = lease_shards(connection, owner, 60)
        assert lock_shards(connection, owner, shards) == shards
        store.installation(connection)
        assert lock_shards(connection, owner, shards) == []


def test_copies_of_a_database_that_was_only_migrated_have_different_names_in_kafka(
    database: str, postgres_server: str, template: str
) -> None:
    other = databases.create(postgres_server, template=template)
    try:
        with databases.connect(database) as first, databases.connect(other) as second:
            names = {store.installation(first), store.installation(first), store.installation(second)}
    finally:
        databases.drop(other)
    assert len(names) == 2
