"""Members come, go and die, and so do Kafka and PostgreSQL: each effect is there once, and keys keep their order."""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.events.world import World, world
from tests.faults.test_events import PATIENCE, Streams, laid
from tests.lab import database as databases
from tests.lab.database import port_of, with_port
from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from trilho import Tx
from trilho.embedded import Postgres
from trilho.events.event import Event
from trilho.events.retry import Retry

KEYS = 5


def counting(ours: World, topic: str, group: str, batch: int = 20) -> None:
    """Each event is a row, written with the offset."""

    @ours.app.bus.subscribe(topic, group=group, batch=batch, retry=Retry(attempts=1000, delay=0.05, longest=0.1))
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, str(event.data["n"])))


def produced(ours: World, topic: str, count: int, begin: int = 0) -> None:
    """Numbers over the keys in turn, straight into Kafka."""
    producer = Producer({"bootstrap.servers": ours.kafka or "", "enable.idempotence": True, "linger.ms": 5})
    for n in range(begin, begin + count):
        producer.produce(topic, json.dumps({"n": n}), key=f"k{n % KEYS}")
    assert producer.flush(30) == 0


def all_once_in_order(ours: World, count: int) -> None:
    eventually(lambda: len(ours.effects()), lambda seen: seen >= count, timeout=PATIENCE, every=0.2)
    for key in range(KEYS):
        rows = ours.query("SELECT value::int FROM effects WHERE key = %s ORDER BY number", f"k{key}")
        assert [row[0] for row in rows] == list(range(key, count, KEYS))
    assert ours.query("SELECT count(*) FROM trilho.parked_keys") == [(0,)]


@pytest.fixture
def ours(database: str, kafka: str) -> Iterator[World]:
    with world(database, kafka) as made:
        yield made


@pytest.fixture
def streams(request: pytest.FixtureRequest, kafka: str) -> Iterator[Streams]:
    with laid(request, kafka) as made:
        yield made


def test_members_that_come_and_go_all_the_time_lose_and_double_nothing(ours: World) -> None:
    topic, group = ours.name("numbers"), ours.name("g")
    ours.streams.create(topic, 6)
    counting(ours, topic, group)
    choice, ends, sent = random.Random(7), [ours.consumer()], 0
    for _ in range(8):
        produced(ours, topic, 200, sent)
        sent += 200
        if len(ends) > 1 and choice.random() < 0.5:
            ends.pop(choice.randrange(len(ends)))()
        else:
            ends.append(ours.consumer())
        time.sleep(choice.uniform(0.2, 0.8))
    all_once_in_order(ours, sent)


def test_partitions_of_a_killed_member_move_within_ten_seconds(streams: Streams) -> None:
    """With the session that members have by default."""
    streams.short_sessions = False
    streams.start("dispatcher")
    streams.start("c1")
    streams.start("c2")
    streams.publish(100)
    owners = "SELECT count(DISTINCT owner) FROM trilho.offsets WHERE topic LIKE '%numbers' AND owner IS NOT NULL"
    eventually(lambda: streams.query(owners), lambda rows: rows == [(2,)], timeout=PATIENCE)
    streams.all_counted_once()
    streams.signal("c1", signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: streams.query(owners), lambda rows: rows == [(1,)], timeout=PATIENCE)
    assert time.monotonic() - killed < 10
    streams.publish(100)
    streams.all_counted_once()


def published(ours: World, topic: str, count: int) -> None:
    """Numbers over the keys in turn, in transactions of ten."""
    for first in range(0, count, 10):
        with ours.app.transaction():
            ours.app.bus.publish_many(topic, [(f"k{n % KEYS}", {"n": n}) for n in range(first, first + 10)])
        time.sleep(0.04)


def test_relay_and_consumer_catch_up_within_twenty_seconds_after_a_kafka_that_was_killed_under_load(
    database: str, own_kafka: KafkaServer
) -> None:
    with world(database, own_kafka.url()) as ours:
        topic, group = ours.name("numbers"), ours.name("g")
        ours.streams.create(topic, 4)
        counting(ours, topic, group)
        ours.relay()
        ours.consumer()
        publisher = threading.Thread(target=published, args=(ours, topic, 2000))
        publisher.start()
        eventually(lambda: len(ours.effects()), lambda seen: seen > 500, timeout=PATIENCE)
        eventually(lambda: ours.query("SELECT 1 FROM trilho.shards WHERE batch IS NOT NULL"), every=0.0)
        own_kafka.restart()
        back = time.monotonic()
        publisher.join()
        all_once_in_order(ours, 2000)
        assert time.monotonic() - back < 20
        eventually(lambda: ours.query("SELECT count(*) FROM trilho.outbox"), lambda rows: rows == [(0,)])
        assert ours.query("SELECT count(*) FROM trilho.processes WHERE state = 'lost'") == [(0,)]


def test_member_that_is_cut_off_from_postgresql_leaves_its_partitions_to_others_and_comes_back(
    database: str, kafka: str
) -> None:
    readers = "SELECT count(*), count(DISTINCT owner) FROM trilho.offsets WHERE owner IS NOT NULL"
    with FaultProxy(port_of(database)) as proxy, world(database, kafka) as ours:
        topic, group = ours.name("numbers"), ours.name("g")
        ours.streams.create(topic, 4)
        counting(ours, topic, group)
        with world(with_port(database, proxy.port), kafka) as other:
            other.app.database.settings = other.app.settings.model_copy(update={"lease": 2.0})
            counting(other, topic, group)
            ours.consumer()
            other.consumer()
            eventually(lambda: ours.query(readers), lambda rows: rows == [(4, 2)], timeout=PATIENCE)
            proxy.set("refuse")
            proxy.cut()
            produced(ours, topic, 500)
            all_once_in_order(ours, 500)
            eventually(lambda: ours.query(readers), lambda rows: rows == [(4, 1)], timeout=PATIENCE)
            proxy.set("pass")
            eventually(lambda: ours.query(readers), lambda rows: rows == [(4, 2)], timeout=PATIENCE)
            produced(ours, topic, 500, 500)
            all_once_in_order(ours, 1000)


def test_postgresql_restarted_under_consumers_and_an_old_snapshot_lose_and_double_nothing(
    own_postgres: Postgres, own_database: str, kafka: str
) -> None:
    with world(own_database, kafka) as ours:
        topic, group = ours.name("numbers"), ours.name("g")
        ours.streams.create(topic, 4)
        counting(ours, topic, group, batch=5)
        produced(ours, topic, 1500)
        ours.consumer()
        eventually(lambda: len(ours.effects()), lambda seen: seen > 100)
        own_postgres.stop("immediate")
        own_postgres.start()
        with databases.connect(own_database) as old, old.transaction():
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT 1 FROM trilho.offsets")
            all_once_in_order(ours, 1500)
