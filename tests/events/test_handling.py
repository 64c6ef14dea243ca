"""A batch is one commit, whatever its handler does to the transaction; no handler ends the thread that runs it."""

import asyncio
import json
import threading

import psycopg
import pytest

from tests.events.world import World
from tests.lab.poll import eventually
from tests.lab.transactions import end_inside
from trilho import Tx
from trilho.db.pool import Connection
from trilho.events import store
from trilho.events.event import Event
from trilho.events.retry import Retry
from trilho.events.store import Lane, Position

TWICE = Retry(attempts=2, delay=0.01, longest=0.02)


def dead(ours: World) -> list[int]:
    return [json.loads(letter.data)["n"] for letter in ours.streams.dead_letters()]


@pytest.mark.parametrize("how", ["session", "driver", "ROLLBACK", "COMMIT"])
def test_handler_that_ends_the_transaction_fails_and_no_effect_of_others_is_lost(ours: World, how: str) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 1)

    @ours.app.bus.subscribe(topic, group=ours.name("g"), retry=TWICE)
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        tx.connection.execute("INSERT INTO effects VALUES ('k', %s)", (str(event.data["n"]),))
        if event.data["n"] != 1:
            return
        end_inside(tx, how)

    ours.relay()
    ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(4)])
    ours.consumer()
    eventually(lambda: dead(ours), lambda found: found == [1])
    eventually(lambda: set(ours.effects()) - {"1"}, lambda found: found == {"0", "2", "3"})
    if how != "COMMIT":  # what it committed stays
        assert ours.effects() == ["0", "2", "3"]


@pytest.mark.parametrize("ending", [SystemExit, asyncio.CancelledError])
def test_handler_that_raises_what_ends_threads_fails_and_its_lane_goes_on(
    ours: World, ending: type[BaseException]
) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 1)

    @ours.app.bus.subscribe(topic, group=ours.name("g"), retry=Retry(attempts=1))
    async def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        if event.data["n"] == 0:
            raise ending
        tx.connection.execute("INSERT INTO effects VALUES ('k', %s)", (str(event.data["n"]),))

    ours.relay()
    ours.consumer(concurrency=1)
    ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(2)])
    eventually(ours.effects, lambda effects: effects == ["1"])
    assert dead(ours) == [0]


def test_lane_whose_loss_cannot_be_looked_into_looks_again(ours: World, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, away = ours.name("t"), threading.Event()
    ours.streams.create(topic, 1)
    ours.subscribe(topic, ours.name("g"))
    ours.relay()
    ours.consumer(concurrency=1)
    ours.app.bus.publish(topic, {"n": 0}, key="k")
    eventually(ours.effects, lambda effects: effects == ["0"])
    real = store.position

    def position(connection: Connection, lane: Lane) -> Position | None:
        if not away.is_set():
            away.set()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return real(connection, lane)

    monkeypatch.setattr(store, "position", position)
    ours.query("UPDATE trilho.offsets SET next_offset = next_offset + 1")  # a commit whose answer got lost
    ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in (1, 2)])
    eventually(ours.effects, lambda effects: effects == ["0", "2"])
    assert away.is_set()
