"""What only Kafka has: foreign programs in groups, marks between events, a cluster that may be away."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.events.world import World, world
from tests.lab import console
from tests.lab.poll import eventually
from trilho.errors import GroupActive, KafkaAway
from trilho.events.consumer import LEASE
from trilho.events.reset import ResetTarget
from trilho.faults import Fault, FaultTripped

SOME_TIME = 20.0


def stranger(ours: World, group: str, *topics: str) -> Consumer:
    """A plain consumer of another program, as a member of a group once it has partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": ours.kafka or "",
            "group.id": group,
            "client.id": "billing",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(list(topics))
    eventually(lambda: (consumer.poll(0.2), consumer.assignment())[1], timeout=SOME_TIME)
    return consumer


def committed(ours: World, group: str, topic: str, partition: int = 0) -> int:
    """What Kafka has as a group's offset."""
    consumer = Consumer({"bootstrap.servers": ours.kafka or "", "group.id": group})
    try:
        return int(consumer.committed([TopicPartition(topic, partition)], timeout=10)[0].offset)
    finally:
        consumer.close()


def filled(ours: World, count: int = 10) -> tuple[str, str]:
    """A topic of one partition that a group of ours has read."""
    orders, group = ours.name("orders"), ours.name("g")
    ours.streams.create(orders, 1)
    ours.subscribe(orders, group)
    ours.relay()
    ours.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(count)])
    end = ours.consumer()
    ours.read(group)
    end()
    eventually(lambda: ours.streams.members(group), lambda members: members == [], timeout=LEASE + 5)
    return orders, group


def test_reset_is_what_kafka_says_too_and_foreign_members_stand_in_its_way(ours: World) -> None:
    orders, group = filled(ours)
    streams = ours.streams
    streams.reset(group, orders, ResetTarget("offset", offset=4))
    assert committed(ours, group, orders) == 4
    assert [(row.offset, row.lag) for row in streams.lag(group)] == [(4, 6)]

    billing = stranger(ours, group, orders)
    try:
        [member] = streams.members(group)
        assert (member.name, member.hostname, member.foreign, member.pid) == ("billing", "127.0.0.1", True, None)
        [row] = streams.lag(group)
        assert (row.member, row.offset) == ("billing", 4)
        [seen] = [one for one in streams.groups() if one.name == group]
        assert (seen.state, seen.members, seen.foreign) == ("STABLE", 1, False)
        with pytest.raises(GroupActive, match=r"billing at 127\.0\.0\.1, foreign"):
            streams.reset(group, orders, ResetTarget("earliest"))
    finally:
        billing.close()
    assert [(row.offset, row.lag) for row in streams.lag(group)] == [(4, 6)]


def test_reset_that_kafka_refuses_or_that_is_cut_off_leaves_our_offset_as_it_was(
    ours: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, group = filled(ours)
    streams, faults = ours.streams, ours.app.database.faults
    [before] = streams.lag(group)

    faults.armed["reset.before_commit"] = Fault("reset.before_commit", "raise")
    with pytest.raises(FaultTripped):
        streams.reset(group, orders, ResetTarget("earliest"))
    assert committed(ours, group, orders) == 0
    assert streams.lag(group) == [before]

    billing = stranger(ours, group, orders)
    try:
        with monkeypatch.context() as patch:  # it joined after we had looked
            patch.setattr(type(streams._groups), "members", lambda *_: [])
            with pytest.raises(GroupActive, match="billing at"):
                streams.reset(group, orders, ResetTarget("offset", offset=2))
    finally:
        billing.close()
    assert [row.offset for row in streams.lag(group)] == [before.offset]
    streams.reset(group, orders, ResetTarget("offset", offset=2))
    assert [row.offset for row in streams.lag(group)] == [2]
    assert committed(ours, group, orders) == 2


def test_group_of_other_programs_is_listed_and_reset(ours: World) -> None:
    orders, group = ours.name("orders"), ours.name("billing")
    ours.streams.create(orders, 1)
    producer = Producer({"bootstrap.servers": ours.kafka or ""})
    for n in range(5):
        producer.produce(orders, b'{"n": %d}' % n, key=b"k")
    producer.flush(10)
    billing = stranger(ours, group, orders)
    billing.commit(offsets=[TopicPartition(orders, 0, 2)], asynchronous=False)
    billing.close()
    [seen] = [one for one in ours.streams.groups() if one.name == group]
    assert (seen.foreign, seen.lag, seen.topics, seen.state) == (True, 3, [orders], "EMPTY")
    [move] = ours.streams.reset(group, orders, ResetTarget("latest"))
    assert (move.before, move.to, committed(ours, group, orders)) == (2, 5, 5)
    assert not any(one.name.startswith("trilho.") for one in ours.streams.groups())


def test_marks_and_what_was_rolled_back_are_nobodys_lag_and_no_events(ours: World) -> None:
    orders, group = filled(ours, 3)
    producer = Producer({"bootstrap.servers": ours.kafka or "", "transactional.id": ours.name("x")})
    producer.init_transactions(10)
    for _ in range(12):
        producer.begin_transaction()
        producer.produce(orders, b'{"n": 99}', key=b"k")
        producer.flush(10)
        producer.abort_transaction(10)
    [row] = ours.streams.lag(group)
    assert (row.offset, row.end, row.lag) == (3, 3, 0)
    assert [event.data["n"] for event in ours.streams.tail(orders)] == [2, 1, 0]
    _, [partition] = ours.streams.topic(orders)
    assert partition.next_offset >= 3 + 1 + 2 * 12
    assert ours.streams.event(orders, 0, 3) is None  # the mark of our own transaction
    assert ours.streams.event(orders, 0, 4) is None  # rolled back

    producer.begin_transaction()
    producer.produce(orders, b'{"n": 100}', key=b"k")
    producer.flush(10)
    assert [row.lag for row in ours.streams.lag(group)] == [0]  # still open
    producer.commit_transaction(10)
    assert [row.lag > 0 for row in ours.streams.lag(group)] == [True]


def test_rest_of_the_postgresql_log_is_shown_on_the_way_to_kafka(ours: World, database: str) -> None:
    with world(database) as before:
        orders, group = before.name("orders"), before.name("g")
        before.streams.create(orders, 1)
        before.subscribe(orders, group)
        relay = before.relay()
        before.app.bus.publish(orders, {"n": 0}, key="k")
        end = before.consumer()
        before.read(group)
        end()
        before.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(1, 4)])
        before.moved()
        relay.stop()
    assert [(row.log, row.topic, row.lag) for row in ours.streams.lag(group)] == [("postgres", orders, 3)]
    [seen] = [one for one in ours.streams.groups() if one.name == group]
    assert (seen.lag, seen.foreign) == (3, False)


def test_kafkas_own_tool_shows_our_group_and_its_lag(ours: World) -> None:
    orders, group = filled(ours)
    ours.streams.reset(group, orders, ResetTarget("offset", offset=7))
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    told = console.run(tool, "--bootstrap-server", ours.kafka or "", "--describe", "--group", group)
    [row] = [line.split() for line in told.splitlines() if line.startswith(group)]
    assert row[:4] == [group, orders, "0", "7"]
    assert int(row[5]) >= 3


# ---- away


def test_with_the_cluster_away_every_question_says_so_within_seconds(database: str) -> None:
    with world(database, "127.0.0.1:1") as away, ThreadPoolExecutor(9) as threads:
        began, streams = time.monotonic(), away.streams
        questions: tuple[Callable[[], object], ...] = (
            streams.topics,
            streams.groups,
            lambda: streams.topic("orders"),
            lambda: streams.create("orders", 1),
            lambda: streams.tail("orders"),
            lambda: streams.event("orders", 0, 0),
            lambda: streams.lag("g"),
            lambda: streams.members("g"),
            lambda: streams.reset("g", "orders", ResetTarget("earliest")),
        )
        for asked in [threads.submit(question) for question in questions]:
            with pytest.raises(KafkaAway, match=r"127\.0\.0\.1:1 \(TRILHO_KAFKA_BOOTSTRAP\)"):
                asked.result()
        assert time.monotonic() - began < 10


def test_with_the_cluster_away_commands_say_so_in_one_line_and_publishing_goes_on(
    database: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text('from trilho import Trilho\napp = Trilho("shop", broker="memory://")\n')
    told = {"TRILHO_DATABASE_URL": database, "TRILHO_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TRILHO_APP": "shop"}

    def trilho(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "trilho.cli", *arguments]
        environment = os.environ | told
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    produced = trilho("events", "produce", "orders", "{}")
    assert produced.returncode == 0, produced
    with ThreadPoolExecutor() as threads:
        listing, outbox = threads.submit(trilho, "topics", "list"), threads.submit(trilho, "events", "outbox")
    assert listing.result().returncode == 1
    assert re.fullmatch(r"trilho: Kafka at 127\.0\.0\.1:1 \(TRILHO_KAFKA_BOOTSTRAP\).+\n", listing.result().stderr)
    told_of = outbox.result().stdout
    assert re.search(r"^orders +1 ", told_of, re.MULTILINE)
    assert "relayed by nobody" in told_of
    assert "Kafka at 127.0.0.1:1 (TRILHO_KAFKA_BOOTSTRAP)" in told_of
