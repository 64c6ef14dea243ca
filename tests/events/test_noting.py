"""What the timeline keeps of events and their handlers' work: in the handlers' own commit, or not at all."""

from typing import Any

import pytest

from tests.events.world import Stream
from tests.lab.poll import eventually
from trilho import Event, Retry, Tx, trace
from trilho.trace import Trace

NOTES = "SELECT kind, id, cause, via, outcome, attempt FROM trilho.timeline WHERE kind <> %s ORDER BY number"
AT_ONCE = Retry(attempts=3, delay=0.02, longest=0.02)


def handlings(stream: Stream) -> list[tuple[Any, ...]]:
    """Event, group, outcome, attempt."""
    return [(id_, via, outcome, n) for kind, id_, _, via, outcome, n in stream.query(NOTES, "-") if kind == "handling"]


def run(stream: Stream, *groups: str) -> None:
    stream.app.migrate()
    stream.relay()
    stream.consumer()
    stream.drained(*groups)


def test_an_operation_goes_on_through_handlers_and_their_events_and_jobs(stream: Stream) -> None:
    app = stream.app

    @app.bus.subscribe("created", group="payment")
    def pay(event: Event[dict[str, int]], tx: Tx) -> None:
        app.bus.publish("paid", {}, key=event.key)
        app.send_task("mail", task_id="mail-1")

    @app.bus.subscribe("paid", group="stock")
    async def reserve(event: dict[str, int]) -> None: ...

    with trace.entered(Trace("op-1", "request-1")):
        created = app.bus.publish("created", {"n": 1}, key="order-1").id
    run(stream, "payment", "stock")
    eventually(lambda: len(handlings(stream)), lambda count: count == 2)
    [(paid,)] = stream.query("SELECT id FROM trilho.timeline WHERE name = 'paid' AND kind = 'event'")
    assert stream.query("SELECT DISTINCT operation FROM trilho.timeline") == [("op-1",)]
    assert stream.query(
        "SELECT kind, id, cause, via, key FROM trilho.timeline WHERE kind <> 'handling' ORDER BY number"
    ) == [
        ("event", created, "request-1", None, "order-1"),
        ("event", paid, created, "payment", "order-1"),
        ("job", "mail-1", created, "payment", None),
    ]
    assert handlings(stream) == [(created, "payment", "done", 1), (paid, "stock", "done", 1)]
    assert stream.query("SELECT headers::json #>> '{trilho_trace,correlation_id}' FROM trilho.jobs") == [("op-1",)]


def test_failures_waits_and_the_end_of_an_event_are_noted(stream: Stream) -> None:
    @stream.app.bus.subscribe("created", group="g", retry=AT_ONCE)
    def fail(event: Event[dict[str, int]]) -> None:
        if event.data["n"] == 1 or event.attempt == 1:
            raise ValueError("no\x00thing")

    first, second = (stream.app.bus.publish("created", {"n": n}, key="k").id for n in (1, 2))
    run(stream, "g")
    eventually(lambda: handlings(stream)[-1][2], lambda outcome: outcome == "done")
    assert [row for row in handlings(stream) if row[0] == first] == [
        (first, "g", "retry", 1),
        (first, "g", "retry", 2),
        (first, "g", "dead_letter", 3),
    ]
    outcomes = [row[2] for row in handlings(stream) if row[0] == second]
    assert (outcomes[0], outcomes[-1]) == ("queued", "done")
    errors = {row[0] for row in stream.query("SELECT error FROM trilho.timeline WHERE outcome = 'retry'")}
    assert errors == {"ValueError: no\\x00thing"}


@pytest.mark.parametrize(("wanted", "noted"), [(None, False), (True, True)])
def test_handlers_of_lists_are_noted_only_if_they_ask_for_it(stream: Stream, wanted: bool | None, noted: bool) -> None:
    @stream.app.bus.subscribe("created", group="g", timeline=wanted)
    def handle(events: list[dict[str, int]]) -> None: ...

    ids = [one.id for one in stream.app.bus.publish_many("created", [("k", {"n": n}) for n in range(3)])]
    run(stream, "g")
    assert handlings(stream) == ([(one, "g", "done", 1) for one in ids] if noted else [])


def test_a_batch_that_is_rolled_back_leaves_no_note_of_what_did_not_happen(stream: Stream) -> None:
    @stream.app.bus.subscribe("created", group="g", retry=Retry(attempts=1))
    def handle(event: Event[dict[str, int]]) -> None:
        if event.data["n"] == 2:
            raise ValueError

    ids = [one.id for one in stream.app.bus.publish_many("created", [("k", {"n": n}) for n in range(4)])]
    run(stream, "g")
    expected = ["done", "done", "dead_letter", "done"]
    assert handlings(stream) == [(one, "g", outcome, 1) for one, outcome in zip(ids, expected, strict=True)]


def test_handlers_outside_of_a_transaction_are_noted_with_their_offset(stream: Stream) -> None:
    @stream.app.bus.subscribe("created", group="g", transactional=False)
    def handle(event: Event[dict[str, int]]) -> None: ...

    one = stream.app.bus.publish("created", {}, key="k").id
    run(stream, "g")
    assert handlings(stream) == [(one, "g", "done", 1)]


def test_an_operation_with_an_impossible_name_breaks_no_handler(stream: Stream) -> None:
    @stream.app.bus.subscribe("created", group="g")
    def handle(event: Event[dict[str, int]]) -> None:
        stream.app.bus.publish("next", {}, key="é" * 2000)

    with trace.entered(Trace("é" * 3000, "c")):
        stream.app.bus.publish("created", {}, key="k")
    run(stream, "g")
    assert stream.query("SELECT DISTINCT length(operation) FROM trilho.timeline") == [(255,)]
    assert len(handlings(stream)) == 1
