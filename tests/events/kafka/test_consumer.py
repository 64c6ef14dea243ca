"""What consuming is on Kafka only: where a group begins, whose partitions they are, and what Kafka may do meanwhile."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from tests.events.world import World, world
from tests.lab import database as databases
from tests.lab.poll import always, eventually
from trilho import Event, Tx
from trilho.embedded.ports import free_port
from trilho.events.kafka.cluster import Cluster
from trilho.events.kafka.configuration import prefix_of
from trilho.events.kafka.log import KafkaLog, strangers
from trilho.events.kafka.store import installation
from trilho.events.postgres import PostgresLog
from trilho.events.retry import Retry

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


def foreign_members(ours: World, group: str) -> set[str]:
    return strangers(cluster(ours), [group], prefix_of(ours.app.database.run(installation)))[group]


# ---- where a group begins


def test_group_of_a_plain_consumer_goes_on_from_what_that_committed(ours: World) -> None:
    topic, group = filled(ours)
    plain = plain_member(ours, group)
    plain.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    plain.close()
    ours.consumer()
    eventually(lambda: numbers(ours), lambda seen: seen == [7, 8, 9])


def test_group_whose_offsets_a_restored_backup_does_not_have_begins_where_it_began(ours: World) -> None:
    """What our own consumers committed to Kafka is not where a group of the backup is."""
    topic, group = filled(ours)
    end = ours.consumer()
    plain = plain_member(ours, group)
    eventually(
        lambda: plain.committed([TopicPartition(topic, 0)])[0].offset,
        lambda offset: offset == 10,
        ignoring=(KafkaException,),
    )
    plain.close()
    end()
    ours.query("DELETE FROM trilho.offsets")
    ours.query("DELETE FROM effects")
    produce(ours, topic, [10])
    ours.consumer()
    eventually(lambda: numbers(ours), lambda seen: seen == list(range(11)))


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


@pytest.mark.parametrize("on_kafka", [False, True])
def test_latest_of_a_topic_that_comes_later_is_its_beginning(
    database: str, kafka: str, monkeypatch: pytest.MonkeyPatch, on_kafka: bool
) -> None:
    kind, name = (KafkaLog, "_look_at_topics") if on_kafka else (PostgresLog, "refresh")
    look, looked = getattr(kind, name), threading.Event()

    def and_tell(log: Any) -> Any:
        found = look(log)
        looked.set()
        return found

    monkeypatch.setattr(kind, name, and_tell)
    with world(database, kafka if on_kafka else None) as ours:
        topic = ours.name("orders")
        ours.subscribe(topic, ours.name("g"), start="latest")
        ours.consumer()
        assert looked.wait(SOME_TIME)
        ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(5)])
        ours.relay()
        eventually(lambda: numbers(ours), lambda seen: seen == list(range(5)), timeout=SOME_TIME)


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


def test_keys_that_wait_go_on_where_kafka_has_fewer_partitions(database: str, kafka: str) -> None:
    with world(database) as before:
        topic, group = before.name("orders"), before.name("g")
        before.subscribe(topic, group, broken=set(range(12)), retry=Retry(1000, 0.1, 0.1))
        before.relay()
        before.consumer()
        before.app.bus.publish_many(topic, [(f"k{n}", {"n": n}) for n in range(12)])
        eventually(lambda: before.query("SELECT count(*) FROM trilho.parked_keys"), lambda rows: rows == [(12,)])
        assert before.query("SELECT count(DISTINCT partition) > 2 FROM trilho.parked_keys") == [(True,)]
    with world(database, kafka) as ours:
        ours.streams.create(topic, 2)
        ours.subscribe(topic, group)
        ours.consumer()
        eventually(lambda: sorted(numbers(ours)), lambda seen: seen == list(range(12)), timeout=SOME_TIME)
        assert ours.query("SELECT count(*) FROM trilho.parked_keys") == [(0,)]


def test_what_expired_unread_in_the_postgresql_log_is_an_alarm_and_holds_nothing_up(
    database: str, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world(database) as before:
        topic, group = before.name("orders"), before.name("g")
        before.streams.create(topic, 1)
        before.subscribe(topic, group)
        before.relay()
        before.app.bus.publish(topic, {"n": 0}, key="k")
        end = before.consumer()
        eventually(lambda: numbers(before), lambda seen: seen == [0])
        end()
        before.app.bus.publish_many(topic, [("k", {"n": n}) for n in (1, 2, 3)])
        before.moved()
    with world(database, kafka) as ours:
        ours.query("UPDATE trilho.log_partitions SET first_offset = next_offset")
        ours.query("DELETE FROM trilho.log")
        ours.subscribe(topic, group)
        ours.relay()
        ours.app.bus.publish(topic, {"n": 4}, key="k")
        ours.consumer()
        eventually(lambda: numbers(ours), lambda seen: seen == [0, 4], timeout=SOME_TIME)
    assert "events.expired count=3 " in caplog.text


def test_relay_that_was_not_restarted_yet_moves_nothing_once_a_process_is_on_kafka(
    database: str, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it moved would be handled out of order."""
    with world(database, kafka) as ours, world(database) as old:
        topic = ours.name("orders")
        ours.subscribe(topic, ours.name("g"))
        old.relay()
        ours.app.bus.publish(topic, {"n": 0}, key="k")
        old.moved()
        ours.consumer()
        eventually(lambda: "relay.refuses" in caplog.text)
        ours.app.bus.publish(topic, {"n": 1}, key="k")
        ours.relay()
        eventually(lambda: numbers(ours), lambda seen: seen == [0, 1], timeout=SOME_TIME)
        assert ours.query("SELECT count(*) FROM trilho.log") == [(1,)]


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
        assert {client.split(" at ")[0] for client in foreign_members(ours, group)} == {"inventory"}
        for partition in (0, 1):
            produce(ours, topic, range(5, 10), partition)
        assert stranger.stdout.readline() == b"committed\n"
    finally:
        stranger.communicate()
    eventually(lambda: len(numbers(ours)), lambda count: count == 20, timeout=SOME_TIME)
    assert sorted(numbers(ours)) == sorted([*range(10), *range(10)])


def test_consumers_of_another_database_in_our_group_are_strangers(
    ours: World, postgres_server: str, template: str
) -> None:
    topic, group = filled(ours)
    url = databases.create(postgres_server, template=template)
    try:
        with world(url, ours.kafka) as other:
            other.subscribe(topic, group)
            other.consumer()
            eventually(lambda: len(numbers(other)), lambda count: count == 10)
            assert not foreign_members(other, group)
            assert len(foreign_members(ours, group)) == 1
            assert [member.foreign for member in ours.streams.members(group)] == [True]
    finally:
        databases.drop(url)


def test_lane_that_a_late_member_took_in_postgresql_is_taken_again_by_the_one_that_kafka_gave_it_to(
    ours: World,
) -> None:
    topic, _ = filled(ours)
    ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    ours.query("UPDATE trilho.offsets SET generation = generation + 1")
    produce(ours, topic, range(10, 20))
    eventually(lambda: numbers(ours), lambda seen: seen == list(range(20)))


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_topic_that_kafka_does_not_show_for_a_moment_is_taken_when_it_does(
    ours: World, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    with_settings(ours, kafka_group_protocol=protocol)
    topics, hidden = Cluster.topics, iter([True, True])

    def sometimes(of: Cluster, names: Collection[str]) -> Any:
        taking = threading.current_thread().name == f"trilho-kafka-{group}"
        return {} if taking and next(hidden, False) else topics(of, names)

    _, group = filled(ours)
    monkeypatch.setattr(Cluster, "topics", sometimes)
    ours.consumer()
    eventually(lambda: len(numbers(ours)), lambda count: count == 10)
    assert not next(hidden, False)


@pytest.mark.parametrize(("transactional", "begun_in_all"), [(True, 3), (False, 2)])
def test_long_handler_is_not_begun_again_where_its_partition_stays(
    ours: World, monkeypatch: pytest.MonkeyPatch, transactional: bool, begun_in_all: int
) -> None:
    """Of two partitions one moves to the member that comes: outside of transactions that is waited for."""
    monkeypatch.setattr("trilho.events.kafka.member.REVOKE_PATIENCE", 0.2)
    topic, group, begun = ours.name("orders"), ours.name("g"), list[int]()
    ours.streams.create(topic, 2)

    @ours.app.bus.subscribe(topic, group=group, batch=1, transactional=transactional)
    def slow(event: Event[dict[str, int]]) -> None:
        begun.append(event.data["n"])
        time.sleep(6)

    for partition in (0, 1):
        produce(ours, topic, [partition], partition)
    ours.consumer()
    eventually(lambda: sorted(begun), lambda seen: seen == [0, 1])
    ours.consumer()
    owners = "SELECT count(DISTINCT owner), sum(next_offset) FROM trilho.offsets WHERE owner IS NOT NULL"
    eventually(lambda: ours.query(owners), lambda rows: rows == [(2, 2)], timeout=SOME_TIME)
    assert len(begun) == begun_in_all


# ---- Kafka is away


def test_consumer_waits_for_a_broker_that_is_not_there_and_can_be_ended(database: str) -> None:
    with world(database, f"127.0.0.1:{free_port()}") as ours:
        ours.subscribe("orders", "g")
        end = ours.consumer()
        eventually(lambda: ours.query("SELECT 1 FROM trilho.processes WHERE kind = 'consumer' AND state = 'running'"))
        end()
