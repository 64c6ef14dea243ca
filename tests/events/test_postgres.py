"""Members of a group on the PostgreSQL log share all partitions, whatever gets lost between them and the server."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.events.world import World
from tests.lab.poll import eventually
from trilho.db.pool import Connection
from trilho.db.wakeups import Bell
from trilho.events import store
from trilho.events.groups import Groups
from trilho.events.postgres import PostgresLog
from trilho.events.reset import ResetTarget
from trilho.processes import store as processes
from trilho.processes.store import ProcessInfo

OWNED = "SELECT count(*), count(DISTINCT owner) FROM trilho.offsets WHERE owner IS NOT NULL"
FIRST, SECOND = UUID(int=1), UUID(int=2)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., threading.Event]:
    """Let one call of a verb fail as a connection does that is lost; it is done all the same, or not."""

    def install(verb: str, when: Callable[..., bool] = lambda *_: True, done: bool = False) -> threading.Event:
        real, lost = getattr(store, verb), threading.Event()

        def called(*args: Any) -> Any:
            if lost.is_set() or not when(*args):
                return real(*args)
            if done:
                real(*args)
            lost.set()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(store, verb, called)
        return lost

    return install


def member(ours: World, connection: Connection, me: UUID) -> PostgresLog:
    """A member that does what it is told; it lives for a minute."""
    info = ProcessInfo(
        kind="consumer", name="m", hostname="h", pid=1, version="1", lease=60.0, pool="threads", concurrency=1
    )
    processes.register(connection, me, info)
    return PostgresLog(ours.app.database, ours.app.bus.subscriptions.of(), lambda: me, Bell())


def test_partition_whose_giving_up_got_lost_is_given_up_again(ours: World, cut: Any) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 2)
    ours.subscribe(topic, ours.name("g"))
    ours.consumer()
    eventually(lambda: ours.query(OWNED), lambda rows: rows == [(2, 1)])
    lost = cut("give_up_partition")
    ours.consumer()
    eventually(lambda: ours.query(OWNED), lambda rows: rows == [(2, 2)])
    assert lost.is_set()


@pytest.mark.parametrize("done", [False, True])
def test_partition_whose_taking_got_lost_is_read(ours: World, cut: Any, done: bool) -> None:
    first, second, group = ours.name("a"), ours.name("b"), ours.name("g")
    for topic in (first, second):
        ours.streams.create(topic, 1)
        ours.subscribe(topic, group)
    lost = cut("take_partitions", lambda _, lane, *__: lane.topic == second, done)
    ours.relay()
    ours.app.bus.publish(first, {"n": 0}, key="k")
    ours.app.bus.publish(second, {"n": 1}, key="k")
    ours.consumer()
    eventually(lambda: sorted(ours.effects()), lambda effects: effects == ["0", "1"])
    assert lost.is_set()


def test_member_that_joins_during_a_reset_reads_from_the_new_place(
    ours: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = ours.name("t"), ours.name("g")
    ours.streams.create(topic, 2)
    ours.subscribe(topic, group)
    ours.relay()
    ours.app.bus.publish_many(topic, [(f"k{n}", {"n": n}) for n in range(10)])
    end = ours.consumer()
    eventually(ours.effects, lambda effects: len(effects) == 10)
    end()
    real = Groups._places

    def places(self: Groups, *args: Any) -> dict[int, int]:
        ours.consumer()
        eventually(lambda: ours.query(OWNED), lambda rows: rows == [(2, 1)])
        return real(self, *args)

    monkeypatch.setattr(Groups, "_places", places)
    ours.streams.reset(group, topic, ResetTarget("earliest"))
    eventually(ours.effects, lambda effects: len(effects) == 20)


def test_group_that_begins_at_the_latest_does_so_in_the_partitions_of_all_members(ours: World) -> None:
    topic, group = ours.name("t"), ours.name("g")
    ours.streams.create(topic, 6)
    ours.subscribe(topic, group, start="latest")
    ours.relay()
    ours.app.bus.publish_many(topic, [(f"k{n}", {"n": n}) for n in range(60)])
    ours.moved()
    with ours.app.database.connection() as connection:
        first, second = member(ours, connection, FIRST), member(ours, connection, SECOND)
        second._enter(connection, SECOND)
        taken = {lane.partition: at.offset for one in (first, second) for lane, at in one.refresh().taken.items()}
        for one in (first, second):
            one.close()
    ends = dict(ours.query("SELECT partition, next_offset FROM trilho.log_partitions"))
    assert taken == {n: ends.get(n, 0) for n in range(6)}


def test_member_reads_no_topic_that_it_does_not_know_and_others_do(ours: World) -> None:
    old, new, group = ours.name("a"), ours.name("b"), ours.name("g")
    for topic in (old, new):
        ours.streams.create(topic, 2)
    ours.subscribe(old, group)
    with ours.app.database.connection() as connection:
        before = member(ours, connection, FIRST)
        ours.subscribe(new, group)
        after = member(ours, connection, SECOND)
        after._enter(connection, SECOND)
        shares = [{(lane.topic, lane.partition) for lane in one.refresh().taken} for one in (before, after)]
        for one in (before, after):
            one.close()
    assert shares[0] | shares[1] == {(topic, n) for topic in (old, new) for n in range(2)}
    assert {topic for topic, _ in shares[0]} == {old}


def test_partitions_of_a_topic_that_became_smaller_are_still_read(ours: World) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 6)
    ours.subscribe(topic, ours.name("g"))
    ours.relay()
    ours.app.bus.publish_many(topic, [(f"k{n}", {"n": n}) for n in range(30)])
    ours.moved()
    ours.query("UPDATE trilho.topics SET partitions = 2")  # as Kafka's has it
    ours.consumer()
    eventually(ours.effects, lambda effects: len(effects) == 30)
