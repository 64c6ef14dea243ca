"""A handler's trouble with somebody else's database is its own."""

import psycopg
import pytest

from tests.events.world import World
from trilho import Tx
from trilho.db.transient import is_contention, is_transient
from trilho.events.event import Event
from trilho.events.retry import Retry

FAILS = b"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"


@pytest.mark.parametrize("error", [psycopg.OperationalError("refused"), psycopg.errors.DeadlockDetected()])
def test_error_counts_as_nobodys_only_where_ours_was_harmed(error: psycopg.Error) -> None:
    assert is_transient(error, ours_was_harmed=True)
    assert not is_transient(error, ours_was_harmed=False)


def test_error_that_was_raised_from_none_has_no_cause() -> None:
    error = ValueError("x")
    error.__context__ = psycopg.errors.DeadlockDetected()
    assert is_transient(error)
    error.__suppress_context__ = True
    assert not is_transient(error)
    assert not is_contention(error)


@pytest.mark.parametrize("whose", ["ours", "other"])
def test_serialization_failure_is_tried_for_ever_only_where_it_is_ours(ours: World, whose: str) -> None:
    topic, group, calls = ours.name("t"), ours.name("g"), []
    ours.streams.create(topic, 1)

    @ours.app.bus.subscribe(topic, group=group, retry=Retry(attempts=1))
    def handle(event: Event[dict[str, int]], tx: Tx) -> None:
        calls.append(1)
        if whose == "ours" and len(calls) < 4:
            with ours.app.transaction():  # a savepoint: what it rolls back leaves the transaction well
                tx.connection.execute(FAILS)
        elif whose == "other":
            with psycopg.connect(ours.url) as other:
                other.execute(FAILS)

    ours.relay()
    ours.consumer()
    ours.app.bus.publish(topic, {"n": 0}, key="k")
    ours.read(group)
    assert (len(calls), len(ours.streams.dead_letters())) == ((4, 0) if whose == "ours" else (1, 1))
