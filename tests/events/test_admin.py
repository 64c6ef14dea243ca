"""Looking at streams and steering them is the same on both logs."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.world import World, world
from tests.lab.poll import eventually
from trilho.errors import GroupActive, UnknownGroup, UnknownTopic
from trilho.events.log_admin import Extent
from trilho.events.reset import ResetTarget, placed
from trilho.events.retry import Retry

KINDS = ("postgres", "kafka")


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest, database: str) -> Iterator[World]:
    """A world on each of the logs."""
    with world(database, request.getfixturevalue("kafka") if request.param == "kafka" else None) as made:
        yield made


def test_topics_groups_and_lag_are_told(either: World) -> None:
    orders, group, streams = either.name("orders"), either.name("g"), either.streams
    assert streams.create(orders, 3, days=7) == 0
    either.subscribe(orders, group)
    either.relay()
    either.app.bus.publish_many(orders, [(str(n), {"n": n}) for n in range(20)])
    end = either.consumer()
    either.read(group, 3)
    assert [(one.name, one.foreign) for one in streams.members(group)] == [("test", False)]
    assert {row.member for row in streams.lag(group)} == {"test"}
    end()
    either.app.bus.publish_many(orders, [(str(n), {"n": n}) for n in range(20)])
    either.moved()
    [topic] = [one for one in streams.topics() if one.name == orders]
    assert (topic.partitions, topic.retention_seconds) == (3, 7 * 86400)
    eventually(lambda: streams.members(group), lambda members: members == [], timeout=10)
    [seen] = [one for one in streams.groups() if one.name == group]
    assert (seen.topics, seen.members, seen.state, seen.foreign) == ([orders], 0, "EMPTY", False)
    assert seen.lag >= 20
    assert seen.lag == sum(row.lag for row in streams.lag(group))
    with pytest.raises(UnknownTopic, match=either.name("nothing")):
        streams.topic(either.name("nothing"))
    with pytest.raises(UnknownGroup, match=either.name("nobody")):
        streams.lag(either.name("nobody"))


def test_newest_events_and_any_single_one_are_shown(either: World) -> None:
    orders, streams = either.name("orders"), either.streams
    streams.create(orders, 2)
    either.relay()
    for n in range(12):
        either.app.bus.publish(orders, {"n": n}, key="k", type="order.placed", headers={"a": "b"})
        either.moved()  # a transaction of its own for each, so that marks stand between them in Kafka
    assert [event.data["n"] for event in streams.tail(orders, limit=5)] == [11, 10, 9, 8, 7]
    [last] = streams.tail(orders, limit=1)
    assert (last.type, last.key, last.headers, last.source) == ("order.placed", "k", {"a": "b"}, "/streams")
    assert streams.event(orders, last.partition, last.offset) == last
    assert streams.event(orders, last.partition, 10_000) is None
    assert streams.event(orders, 7, 0) is None
    assert streams.tail(orders, partition=1 - last.partition) == []
    _, partitions = streams.topic(orders)
    assert [(one.partition, one.first_offset) for one in partitions] == [(0, 0), (1, 0)]
    assert partitions[last.partition].next_offset > last.offset


def test_topic_grows_and_keeps_its_retention_and_names_that_kafka_refuses_are_refused(either: World) -> None:
    orders, streams = either.name("orders"), either.streams
    assert streams.create(orders, 2, days=1) == 0
    assert streams.create(orders, 5) == 2
    with pytest.raises(ValueError, match="has 5 partitions, and they only grow: not 3"):
        streams.create(orders, 3)
    assert streams.create(orders) == 5
    view, partitions = eventually(lambda: streams.topic(orders), lambda told: told[0].partitions == 5)
    assert (len(partitions), view.retention_seconds) == (5, 86_400)
    streams.create(orders, days=2)
    eventually(lambda: streams.topic(orders)[0].retention_seconds, lambda seconds: seconds == 2 * 86_400)
    for wrong in ("a b", "", "..", "x" * 250):
        with pytest.raises(ValueError, match="is no topic name"):
            streams.create(wrong, 1)


def test_reset_is_refused_under_members_and_goes_where_it_is_told_afterwards(either: World) -> None:
    orders, group, streams = either.name("orders"), either.name("g"), either.streams
    streams.create(orders, 1)
    either.subscribe(orders, group)
    either.relay()
    either.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(5)])
    end = either.consumer()
    either.read(group)
    between = datetime.now(timezone.utc)
    either.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(5, 10)])
    either.read(group)
    first_late = min(event.offset for event in streams.tail(orders, 5))
    with pytest.raises(GroupActive, match="test"):
        streams.reset(group, orders, ResetTarget("earliest"))
    [before] = streams.reset(group, orders, ResetTarget("earliest"), dry_run=True)
    assert (before.to, before.before > 0) == (0, True)
    end()
    eventually(lambda: streams.members(group), lambda members: members == [], timeout=10)

    [late] = streams.reset(group, orders, ResetTarget("time", time=between), dry_run=True)
    assert late.to == first_late
    later = between + timedelta(days=1)
    [latest] = streams.reset(group, orders, ResetTarget("latest"), dry_run=True)
    assert [row.to for row in streams.reset(group, orders, ResetTarget("time", time=later), True)] == [latest.to]
    assert [row.to for row in streams.reset(group, orders, ResetTarget("offset", offset=10**9), True)] == [latest.to]
    assert [row.to for row in streams.reset(group, orders, ResetTarget("offset", offset=3, partition=0), True)] == [3]
    with pytest.raises(UnknownGroup):
        streams.reset(group, orders, ResetTarget("earliest", partition=1))

    assert len(either.effects()) == 10
    streams.reset(group, orders, ResetTarget("time", time=between))
    either.consumer()
    eventually(either.effects, lambda values: values[10:] == ["5", "6", "7", "8", "9"])


def test_what_waits_for_the_relay_is_shown_and_who_relays(either: World) -> None:
    orders, streams = either.name("orders"), either.streams
    either.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(3)])
    told = streams.outbox()
    assert [(one.topic, one.events) for one in told.waiting] == [(orders, 3)]
    assert datetime.now(timezone.utc) - told.waiting[0].oldest < timedelta(seconds=60)
    assert (told.relays, told.trouble) == ([], None)
    either.relay()
    either.moved()
    assert len(streams.outbox().relays) == 1


# ---- what failed: in PostgreSQL on both logs


def test_replayed_dead_letters_are_handled_in_their_order(ours: World) -> None:
    orders, group, streams, broken = ours.name("orders"), ours.name("g"), ours.streams, {1, 3}
    ours.subscribe(orders, group, broken, retry=Retry(attempts=1))
    ours.relay()
    ours.consumer()
    ours.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(5)])
    eventually(lambda: streams.dead_letters(group), lambda letters: len(letters) == 2)
    ours.read(group)
    broken.clear()
    assert streams.replay([letter.number for letter in streams.dead_letters(group)]) == 2
    eventually(ours.effects, lambda values: values == ["0", "2", "4", "1", "3"])
    assert streams.dead_letters(group) == []
    assert [letter.settled_as for letter in streams.dead_letters(group, settled=True)] == ["replayed", "replayed"]
    assert streams.replay([1, 2]) == 0


def test_parked_key_waits_for_a_person_who_skips_its_head(ours: World) -> None:
    orders, group, streams = ours.name("orders"), ours.name("g"), ours.streams
    ours.subscribe(orders, group, {0}, retry=Retry(attempts=1), on_failure="park")
    ours.relay()
    ours.consumer()
    ours.app.bus.publish_many(orders, [("k", {"n": n}) for n in range(3)])
    eventually(lambda: [key.events for key in streams.parked(group)], lambda counts: counts == [3])
    [key] = streams.parked(group)
    assert (key.next_try, key.attempts) == (None, 1)
    assert "broken on purpose" in str(key.error)
    assert ours.effects() == []
    assert streams.skip_parked(group, orders, key.lane)
    eventually(ours.effects, lambda values: values == ["1", "2"])
    [letter] = streams.dead_letters(group)
    assert letter.data == '{"n":0}'
    assert streams.discard([letter.number]) == 1
    assert not streams.skip_parked(group, orders, key.lane)


def test_event_that_kafka_refused_is_published_again_when_it_is_replayed(ours: World) -> None:
    orders, streams = ours.name("orders"), ours.streams
    ours.query(
        """INSERT INTO trilho.dead_letters ("group", topic, partition, "offset", id, key, type, time, attributes, data,
           content_type, attempts, error)
           VALUES ('trilho.relay', %s, -1, 7, 'e-1', 'k', 'placed', now(), '{"source": "/x"}', '{"n": 1}',
           'application/json', 1, 'Kafka refuses')""",
        orders,
    )
    [letter] = streams.dead_letters("trilho.relay")
    assert streams.replay([letter.number]) == 1
    assert [(one.topic, one.events) for one in streams.outbox().waiting] == [(orders, 1)]
    ours.relay()
    ours.moved()
    [event] = streams.tail(orders)
    assert (event.id, event.key, event.type, event.data, event.source) == ("e-1", "k", "placed", {"n": 1}, "/x")
    assert streams.dead_letters("trilho.relay") == []
    assert streams.replay([letter.number]) == 0


# ---- decided without I/O

offsets = st.integers(0, 1000)
targets = st.one_of(
    st.just(ResetTarget("earliest")),
    st.just(ResetTarget("latest")),
    st.builds(lambda n: ResetTarget("offset", offset=n), offsets),
    st.just(ResetTarget("time", time=datetime(2026, 1, 1, tzinfo=timezone.utc))),
)


@given(targets, offsets, offsets, st.none() | offsets)
def test_a_reset_goes_to_nowhere_but_where_something_is(
    target: ResetTarget, first: int, size: int, at: int | None
) -> None:
    extent = Extent(first, first + size)
    to = placed(target, extent, at)
    assert extent.first <= to <= extent.next
    if target.to == "earliest":
        assert to == extent.first
    if target.to == "latest" or (target.to == "time" and at is None):
        assert to == extent.next
    if target.offset is not None and extent.first <= target.offset <= extent.next:
        assert to == target.offset
