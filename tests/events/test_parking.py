"""What waits is never forgotten, and never keeps a partition from its work."""

import json
import secrets
import threading

import psycopg
import pytest

from tests.events.world import World
from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho import Tx
from trilho.db.pool import Connection
from trilho.events import admin, store
from trilho.events.event import Event
from trilho.events.noting import NOTHING, Handled
from trilho.events.options import OnFailure
from trilho.events.retry import Retry
from trilho.events.store import Lane, Position

LOCKED_OUT = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"


def test_event_that_is_replayed_while_its_key_is_let_go_is_handled(ours: World) -> None:
    topic, gate = ours.name("t"), threading.Event()
    ours.streams.create(topic, 1)
    broken, seen = {0, 1}, []

    @ours.app.bus.subscribe(topic, group=ours.name("g"), retry=Retry(attempts=1))
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        if event.data["n"] in broken:
            raise ValueError("broken on purpose")
        seen.append(event.data["n"])
        if event.data["n"] == 0:
            gate.wait(10)

    ours.relay()
    ours.consumer()
    ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(2)])
    first, second = eventually(
        lambda: sorted(letter.number for letter in ours.streams.dead_letters()), lambda numbers: len(numbers) == 2
    )
    broken.clear()
    ours.streams.replay([first])
    eventually(lambda: seen == [0])  # and the marker of the key is locked

    def replay() -> None:
        with databases.connect(ours.url) as connection, connection.transaction():
            admin._replay(connection, [second])

    replaying = threading.Thread(target=replay)
    replaying.start()
    eventually(lambda: ours.query(LOCKED_OUT), lambda rows: rows == [(True,)])
    gate.set()
    replaying.join(10)
    eventually(lambda: ours.query("SELECT count(*) FROM trilho.parked_events"), lambda rows: rows == [(0,)])
    assert seen == [0, 1]


def test_key_too_long_for_an_index_is_parked_and_others_flow(ours: World) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 1)
    ours.subscribe(topic, ours.name("g"), broken={0}, retry=Retry(attempts=2, delay=0.01, longest=0.02))
    ours.relay()
    ours.consumer()
    long = secrets.token_hex(2000)
    ours.app.bus.publish_many(topic, [(long, {"n": 0}), ("k", {"n": 1}), (long, {"n": 2})])
    eventually(ours.effects, lambda effects: effects == ["1", "2"])
    assert [json.loads(letter.data)["n"] for letter in ours.streams.dead_letters()] == [0]


@pytest.mark.parametrize("on_failure", ["dead_letter", "park"])
def test_data_that_does_not_fit_the_annotation_is_not_tried_again(ours: World, on_failure: OnFailure) -> None:
    topic, group, seen = ours.name("t"), ours.name("g"), []
    ours.streams.create(topic, 1)

    @ours.app.bus.subscribe(topic, group=group, on_failure=on_failure, retry=Retry(attempts=9, delay=60))
    def handle(event: dict[str, int]) -> None:
        seen.append(event)

    ours.relay()
    ours.consumer()
    ours.app.bus.publish_many(topic, [("k", [1]), ("other", {"n": 1})])
    ours.read(group)
    assert seen == [{"n": 1}]
    given_up = [(letter.attempts, letter.error) for letter in ours.streams.dead_letters(group)]
    waiting = [(key.attempts, key.error) for key in ours.streams.parked(group) if key.next_try is None]
    told = "DoesNotFit: the handler takes a JSON object, and the data is of the type list"
    assert (given_up, waiting) == (([(1, told)], []) if on_failure == "dead_letter" else ([], [(1, told)]))


def test_handler_outside_of_transactions_is_retried_outside_of_them(ours: World) -> None:
    topic, seen = ours.name("t"), []
    ours.streams.create(topic, 1)

    @ours.app.bus.subscribe(
        topic, group=ours.name("g"), transactional=False, retry=Retry(attempts=3, delay=0.01, longest=0.02)
    )
    def handle(event: Event[dict[str, int]]) -> None:
        with ours.app.transaction() as tx:
            tx.connection.execute("INSERT INTO effects VALUES ('k', %s)", (str(event.attempt),))
        seen.append(ours.effects())
        if event.attempt < 3:
            raise ValueError("broken on purpose")

    ours.relay()
    ours.consumer()
    ours.app.bus.publish(topic, {"n": 0}, key="k")
    eventually(lambda: seen, lambda effects: effects == [["1"], ["1", "2"], ["1", "2", "3"]])
    eventually(lambda: ours.query("SELECT count(*) FROM trilho.parked_keys"), lambda rows: rows == [(0,)])


def test_event_behind_a_waiting_one_waits_once_though_the_offset_does_not_move_at_first(
    ours: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group, seen = ours.name("t"), ours.name("g"), []
    ours.streams.create(topic, 1)
    broken, away = {0}, threading.Event()

    @ours.app.bus.subscribe(topic, group=group, transactional=False, retry=Retry(attempts=9, delay=0.2, longest=0.2))
    def handle(event: Event[dict[str, int]]) -> None:
        if event.data["n"] in broken:
            raise ValueError("broken on purpose")
        seen.append(event.data["n"])

    real = store.swap

    def swap(connection: Connection, lane: Lane, now: Position, to: int, done: Handled = NOTHING) -> bool:
        if now.offset == 1 and not away.is_set():
            away.set()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return real(connection, lane, now, to, done)

    monkeypatch.setattr(store, "swap", swap)
    ours.relay()
    ours.app.bus.publish_many(topic, [("k", {"n": n}) for n in range(3)])
    ours.consumer()
    eventually(lambda: ours.query("SELECT sum(next_offset) FROM trilho.offsets"), lambda rows: rows == [(3,)])
    broken.clear()
    eventually(lambda: ours.query("SELECT count(*) FROM trilho.parked_keys"), lambda rows: rows == [(0,)])
    assert away.is_set()
    assert seen == [0, 1, 2]
