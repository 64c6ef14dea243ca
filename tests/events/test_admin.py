"""Looking at streams, and steering them."""

from datetime import datetime, timezone

import pytest

from tests.events.conftest import Stream
from tests.lab.poll import eventually
from trilho import Tx
from trilho.errors import GroupActive, UnknownGroup, UnknownTopic
from trilho.events.admin import ResetTarget, Streams
from trilho.events.event import Event
from trilho.events.retry import Retry


@pytest.fixture
def streams(stream: Stream) -> Streams:
    return Streams(stream.app)


def effects(stream: Stream) -> list[str]:
    return [row[0] for row in stream.query("SELECT value FROM effects ORDER BY ctid")]


def subscribe(stream: Stream, broken: set[int] | None = None, **options: object) -> None:
    @stream.app.bus.subscribe("orders", group="g", **options)  # type: ignore[arg-type]
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        if event.data["n"] in (broken or set()):
            raise ValueError("broken on purpose")
        tx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, str(event.data["n"])))


def test_topics_groups_and_lag_are_told(stream: Stream, streams: Streams) -> None:
    subscribe(stream)
    stream.relay()
    stream.app.bus.publish_many("orders", [(str(n), {"n": n}) for n in range(20)])
    end = stream.consumer()
    stream.drained("g")
    assert [member.name for member in streams.members("g")] == ["test"]
    end()
    stream.app.bus.publish_many("orders", [(str(n), {"n": n}) for n in range(7)])
    eventually(lambda: streams.topics()[0].events, lambda count: count == 27)
    [topic], [group] = streams.topics(), streams.groups()
    assert (topic.name, topic.partitions, topic.retention_seconds) == ("orders", 6, 7 * 86400)
    assert (group.name, group.topics, group.members, group.lag) == ("g", ["orders"], 0, 7)
    assert sum(row.lag for row in streams.lag("g")) == 7
    assert len(streams.tail("orders", limit=5)) == 5
    first = streams.event("orders", 0, 0)
    assert first is not None
    assert first.offset == 0
    with pytest.raises(UnknownTopic, match="'nothing'"):
        streams.topic("nothing")
    with pytest.raises(UnknownGroup, match="'nobody'"):
        streams.lag("nobody")


def test_reset_is_refused_under_members_and_replays_afterwards(stream: Stream, streams: Streams) -> None:
    subscribe(stream)
    stream.relay()
    stream.app.bus.publish_many("orders", [(str(n), {"n": n}) for n in range(10)])
    end = stream.consumer()
    stream.drained("g")
    with pytest.raises(GroupActive, match="test"):
        streams.reset("g", "orders", ResetTarget("earliest"))
    assert all(row.to == 0 for row in streams.reset("g", "orders", ResetTarget("earliest"), dry_run=True))
    end()
    assert len(effects(stream)) == 10
    streams.reset("g", "orders", ResetTarget("earliest"))
    stream.consumer()
    eventually(lambda: len(effects(stream)), lambda count: count == 20)


def test_reset_to_a_time_finds_the_first_event_after_it(stream: Stream, streams: Streams) -> None:
    subscribe(stream)
    stream.relay()
    stream.app.bus.publish("orders", {"n": 1}, key="k")
    end = stream.consumer()
    stream.drained("g")
    between = datetime.now(timezone.utc)
    stream.app.bus.publish("orders", {"n": 2}, key="k")
    stream.drained("g")
    end()
    [row] = [row for row in streams.reset("g", "orders", ResetTarget("time", time=between)) if row.before]
    assert (row.before, row.to) == (2, 1)


def test_replayed_dead_letters_are_handled_in_their_order(stream: Stream, streams: Streams) -> None:
    broken = {1, 3}
    subscribe(stream, broken, retry=Retry(attempts=1))
    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [("k", {"n": n}) for n in range(5)])
    eventually(lambda: streams.dead_letters("g"), lambda letters: len(letters) == 2)
    stream.drained("g")
    broken.clear()
    assert streams.replay([letter.number for letter in streams.dead_letters("g")]) == 2
    eventually(lambda: effects(stream), lambda values: values == ["0", "2", "4", "1", "3"])
    assert streams.dead_letters("g") == []
    assert [letter.settled_as for letter in streams.dead_letters("g", settled=True)] == ["replayed", "replayed"]
    assert streams.replay([1, 2]) == 0


def test_parked_key_waits_for_a_person_who_skips_its_head(stream: Stream, streams: Streams) -> None:
    subscribe(stream, {0}, retry=Retry(attempts=1), on_failure="park")
    stream.relay()
    stream.consumer()
    stream.app.bus.publish_many("orders", [("k", {"n": n}) for n in range(3)])
    eventually(lambda: [key.events for key in streams.parked("g")], lambda counts: counts == [3])
    [key] = streams.parked("g")
    assert (key.next_try, key.attempts) == (None, 1)
    assert "broken on purpose" in str(key.error)
    assert effects(stream) == []
    assert streams.skip_parked("g", "orders", key.lane)
    eventually(lambda: effects(stream), lambda values: values == ["1", "2"])
    [letter] = streams.dead_letters("g")
    assert letter.data == '{"n":0}'
    assert streams.discard([letter.number]) == 1
    assert not streams.skip_parked("g", "orders", key.lane)
