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
from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
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


def produced(ours: World, topic: str, count: int, begin: int = 0, pause: float = 0.0) -> None:
    """Numbers over the keys in turn, straight into Kafka."""
    producer = Producer({"bootstrap.servers": ours.kafka or "", "enable.idempotence": True, "linger.ms": 5})
    for n in range(begin, begin + count):
        producer.produce(topic, json.dumps({"n": n}), key=f"k{n % KEYS}")
        time.sleep(pause)
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
    streams.all_counted_once(100)
    streams.signal("c1", signal.SIGKILL)
    killed = time.monotonic()
    streams.publish(100, begin=100)
    streams.all_counted_once(200)
    assert time.monotonic() - killed < 10


def test_kafka_killed_and_started_again_under_load_loses_and_doubles_nothing(
    database: str, own_kafka: KafkaServer
) -> None:
    with world(database, own_kafka.url()) as ours:
        topic, group = ours.name("numbers"), ours.name("g")
        ours.streams.create(topic, 4)
        counting(ours, topic, group)
        ours.consumer()
        publisher = threading.Thread(target=produced, args=(ours, topic, 1500), kwargs={"pause": 0.003})
        publisher.start()
        eventually(lambda: len(ours.effects()), lambda seen: seen > 100, timeout=PATIENCE)
        own_kafka.restart()
        publisher.join()
        all_once_in_order(ours, 1500)
        assert ours.query("SELECT count(*) FROM trilho.processes WHERE state = 'lost'") == [(0,)]


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
