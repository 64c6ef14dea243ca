"""What consuming is on Kafka only: where a group begins, whose partitions they are, and what Kafka may do meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from tests.events.world import World, world
from tests.lab.poll import always, eventually
from trilho import Tx
from trilho.embedded.ports import free_port
from trilho.events.kafka.cluster import Cluster
from trilho.events.kafka.log import strangers

SOME_TIME = 25.0
INVENTORY = """
import sys
from kafka import KafkaConsumer
topic, group, bootstrap = sys.argv[1:]
consumer = KafkaConsumer(topic, group_id=group, bootstrap_servers=[bootstrap], client_id="inventory")
while not consumer.assignment():
    consumer.poll(200)
print("joined", flush=True)
while not consumer.poll(200):
    pass
consumer.commit()
print("committed", flush=True)
consumer.close()
"""
"""Another program's consumer."""


@pytest.fixture
def ours(database: str, kafka: str) -> Iterator[World]:
    with world(database, kafka) as made:
        yield made


def with_settings(ours: World, **settings: Any) -> None:
    """Before anything is used."""
    ours.app.database.settings = ours.app.settings.model_copy(update=settings)


def produce(ours: World, topic: str, numbers: Sequence[int], partition: int = 0) -> None:
    """As another program does, without an envelope."""
    producer = Producer({"bootstrap.servers": ours.kafka or ""})
    for n in numbers:
        producer.produce(topic, json.dumps({"n": n}), key=f"k{n % 3}", partition=partition)
    assert producer.flush(15) == 0


def numbers(ours: World) -> list[int]:
    return [int(value) for value in ours.effects()]


def cluster(ours: World) -> Cluster:
    return Cluster.of(ours.app.settings)


def filled(ours: World, count: int = 10, **options: object) -> tuple[str, str]:
    """A topic of one partition with events in it, and a group that is to read it."""
    topic, group = ours.name("orders"), ours.name("g")
    ours.streams.create(topic, 1)
    ours.subscribe(topic, group, **options)  # type: ignore[arg-type]
    produce(ours, topic, range(count))
    return topic, group


def plain_member(ours: World, group: str) -> Consumer:
    return Consumer({"bootstrap.servers": ours.kafka or "", "group.id": group, "enable.auto.commit": False})


# ---- where a group begins


def test_group_of_a_plain_consumer_goes_on_from_what_that_committed(ours: World) -> None:
    topic, group = filled(ours)
    plain = plain_member(ours, group)
    plain.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    plain.close()
    ours.consumer()
    eventually(lambda: numbers(ours), lambda seen: seen == [7, 8, 9])


def test_latest_is_resolved_once_and_partitions_that_come_later_are_read_from_their_beginning(ours: World) -> None:
    topic, _ = filled(ours, start="latest")
    end = ours.consumer()
    eventually(lambda: ours.query("SELECT next_offset FROM trilho.offsets"), lambda rows: rows == [(10,)])
    end()
    produce(ours, topic, [10, 11])
    ours.consumer()
    eventually(lambda: numbers(ours), lambda seen: seen == [10, 11])
    cluster(ours).admin.create_partitions([NewPartitions(topic, 2)])[topic].result()
    eventually(lambda: cluster(ours).topics([topic])[topic].partitions, lambda count: count == 2)
    produce(ours, topic, [12, 13], partition=1)
    eventually(lambda: numbers(ours), lambda seen: seen == [10, 11, 12, 13], timeout=SOME_TIME)


def test_topic_deleted_and_made_again_while_running_is_read_anew(ours: World) -> None:
    topic, _ = filled(ours)
    ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    cluster(ours).admin.delete_topics([topic])[topic].result()
    eventually(lambda: cluster(ours).topics([topic]), lambda found: not found)
    ours.streams.create(topic, 1)
    eventually(lambda: cluster(ours).topics([topic]))
    produce(ours, topic, [100, 101])
    eventually(lambda: numbers(ours)[10:], lambda seen: seen == [100, 101], timeout=SOME_TIME)
    assert ours.query("SELECT next_offset FROM trilho.offsets ORDER BY next_offset") == [(2,), (10,)]


def test_events_that_kafka_dropped_are_an_alarm_with_their_count(ours: World, caplog: pytest.LogCaptureFixture) -> None:
    topic, _ = filled(ours)
    end = ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    end()
    produce(ours, topic, range(10, 20))
    dropped = cluster(ours).admin.delete_records([TopicPartition(topic, 0, 15)])
    [future.result() for future in dropped.values()]
    ours.consumer()
    eventually(lambda: numbers(ours)[10:], lambda seen: seen == [15, 16, 17, 18, 19])
    assert "events.expired count=5 " in caplog.text


def test_offset_past_the_end_waits_for_a_person(ours: World, caplog: pytest.LogCaptureFixture) -> None:
    topic, _ = filled(ours)
    end = ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    end()
    ours.query("UPDATE trilho.offsets SET next_offset = 1000")
    produce(ours, topic, [10])
    ours.consumer()
    eventually(lambda: "offset.past_the_end" in caplog.text)
    always(lambda: len(numbers(ours)), lambda count: count == 10, seconds=1.5)


# ---- moving


def test_postgresql_log_is_drained_before_kafka_is_read_and_keys_keep_their_order(database: str, kafka: str) -> None:
    with world(database) as before:
        topic, group = before.name("orders"), before.name("g")
        before.subscribe(topic, group, batch=5)
        before.relay()
        before.app.bus.publish_many(topic, [(f"k{n % 3}", {"n": n}) for n in range(60)])
        end = before.consumer()
        eventually(lambda: len(before.effects()), lambda count: count >= 1)
        end()
        before.app.bus.publish_many(topic, [(f"k{n % 3}", {"n": n}) for n in range(60, 120)])
        before.moved()
    with world(database, kafka) as ours:
        ours.subscribe(topic, group, batch=5)
        ours.relay()
        ours.app.bus.publish_many(topic, [(f"k{n % 3}", {"n": n}) for n in range(120, 180)])
        ours.moved()
        ours.consumer()
        eventually(lambda: len(numbers(ours)), lambda count: count == 180, timeout=SOME_TIME)
        for key in range(3):
            of_key = [int(v) for (v,) in ours.query(f"SELECT value FROM effects WHERE key = 'k{key}' ORDER BY number")]
            assert of_key == list(range(key, 180, 3))


# ---- who reads


def test_handler_longer_than_the_poll_interval_keeps_its_partition(ours: World) -> None:
    with_settings(
        ours,
        kafka_options={"max.poll.interval.ms": 2000, "session.timeout.ms": 2000, "heartbeat.interval.ms": 500},
    )
    topic, group = ours.name("orders"), ours.name("g")
    ours.streams.create(topic, 1)
    calls: list[int] = []

    @ours.app.bus.subscribe(topic, group=group, batch=1)
    def slow(event: dict[str, int], tx: Tx) -> None:
        calls.append(event["n"])
        time.sleep(4.5 if event["n"] == 0 else 0)
        tx.connection.execute("INSERT INTO effects VALUES ('n', %s)", (str(event["n"]),))

    produce(ours, topic, range(3))
    ours.consumer()
    eventually(lambda: numbers(ours), lambda seen: seen == [0, 1, 2])
    assert calls == [0, 1, 2]
    assert ours.query("SELECT generation FROM trilho.offsets") == [(1,)]


def test_kip_848_groups_work_and_share(ours: World) -> None:
    with_settings(ours, kafka_group_protocol="consumer")
    topic, group = ours.name("orders"), ours.name("g")
    ours.streams.create(topic, 4)
    ours.subscribe(topic, group)
    for partition in range(4):
        produce(ours, topic, range(10), partition)
    first = ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 40)
    ours.consumer()
    owners = "SELECT count(DISTINCT owner), count(*) FROM trilho.offsets WHERE owner IS NOT NULL"
    eventually(lambda: ours.query(owners), lambda rows: rows == [(2, 4)], timeout=SOME_TIME)
    first()
    eventually(lambda: ours.query(owners), lambda rows: rows == [(1, 4)], timeout=SOME_TIME)
    for partition in range(4):
        produce(ours, topic, range(10, 20), partition)
    eventually(lambda: len(numbers(ours)), lambda count: count == 80, timeout=SOME_TIME)


def test_stranger_in_our_group_is_seen_and_its_partitions_go_on_from_our_offset(ours: World) -> None:
    topic, group = ours.name("orders"), ours.name("g")
    ours.streams.create(topic, 2)
    ours.subscribe(topic, group)
    for partition in (0, 1):
        produce(ours, topic, range(5), partition)
    ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    stranger = subprocess.Popen(
        [sys.executable, "-c", INVENTORY, topic, group, ours.kafka or ""], stdout=subprocess.PIPE
    )
    assert stranger.stdout is not None
    try:
        assert stranger.stdout.readline() == b"joined\n"
        assert {client.split(" at ")[0] for client in strangers(cluster(ours), [group])[group]} == {"inventory"}
        for partition in (0, 1):
            produce(ours, topic, range(5, 10), partition)
        assert stranger.stdout.readline() == b"committed\n"
    finally:
        stranger.communicate()
    eventually(lambda: len(numbers(ours)), lambda count: count == 20, timeout=SOME_TIME)
    assert sorted(numbers(ours)) == sorted([*range(10), *range(10)])


# ---- Kafka is away


def test_consumer_waits_for_a_broker_that_is_not_there_and_can_be_ended(database: str) -> None:
    with world(database, f"127.0.0.1:{free_port()}") as ours:
        ours.subscribe("orders", "g")
        end = ours.consumer()
        eventually(lambda: ours.query("SELECT 1 FROM trilho.processes WHERE kind = 'consumer' AND state = 'running'"))
        end()
