"""Signals, events, timers, calls: what came early, what comes twice, and who wins."""

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from tests.events.world import Identity
from tests.lab.poll import eventually
from tests.sagas.conftest import Shop, do, refuse, undo
from trilho import DuplicateSaga, Event, Retry, Saga, SagaFailed, SagaStateError, SagaTimeout, UnknownSaga
from trilho.events.consumer import Consumer, ConsumerOptions
from trilho.events.relay import Relay
from trilho.sagas.delivery import Delivery


class Answer(BaseModel):
    yes: bool


def waiting_for_signal(shop: Shop, timeout: float | None = None) -> Any:
    @shop.app.saga(name="asking")
    async def asking(saga: Saga) -> list[Any]:
        first = await saga.wait_signal("answer", timeout=timeout, into=Answer)
        second = await saga.wait_signal("answer", timeout=timeout)
        return [first, second]

    return asking


def test_early_signals_are_kept_and_each_is_taken_once(shop: Shop) -> None:
    handle = waiting_for_signal(shop).start()
    handle.signal("answer", {"yes": True}, message_id="a")
    handle.signal("answer", {"yes": True}, message_id="a")
    handle.signal("another", 1)
    assert shop.settle(handle) == "WAITING"
    handle.signal("answer", "second")
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == [{"yes": True}, "second"]


def test_suspended_run_has_no_job_and_no_timer_without_a_timeout(shop: Shop) -> None:
    handle = waiting_for_signal(shop).start()
    assert shop.settle(handle) == "WAITING"
    assert shop.query("SELECT stretch, wake_at FROM trilho.sagas") == [(None, None)]
    assert shop.query("SELECT count(*) FROM trilho.jobs WHERE finished_at IS NULL") == [(0,)]


def test_signal_belongs_to_the_ambient_transaction(shop: Shop) -> None:
    handle = waiting_for_signal(shop).start()
    shop.settle(handle)
    with suppress(ZeroDivisionError), shop.app.transaction():
        handle.signal("answer", {"yes": True})
        raise ZeroDivisionError
    assert shop.settle(handle) == "WAITING"
    with shop.app.transaction():
        handle.signal("answer", {"yes": True})
        handle.signal("answer", 2)
    assert shop.settle(handle) == "COMPLETED"


def test_wait_that_lasts_too_long_raises_saga_timeout(shop: Shop) -> None:
    handle = waiting_for_signal(shop, timeout=60.0).start()
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(seconds=61)
    handle.signal("answer", {"yes": True})  # there when somebody looks: it wins
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(seconds=61)
    assert shop.settle(handle) == "COMPENSATED"
    with pytest.raises(SagaFailed) as failed:
        handle.get(1)
    assert isinstance(failed.value.__cause__, SagaTimeout)
    assert [step.timed_out for step in handle.history()] == [False, True]


def test_signal_to_a_finished_or_unknown_run_is_refused(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga) -> None: ...

    handle = short.start()
    shop.settle(handle)
    with pytest.raises(SagaStateError, match="COMPLETED"):
        handle.signal("late", 1)
    with pytest.raises(UnknownSaga):
        shop.app.sagas.get("nobody")


def test_sleep_ends_when_its_time_has_come(shop: Shop) -> None:
    @shop.app.saga
    async def sleepy(saga: Saga) -> str:
        await saga.sleep(86_400)
        return await saga.step(do, "awake")

    handle = sleepy.start()
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(hours=23)
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(hours=2)
    assert shop.settle(handle) == "COMPLETED"


def test_time_limit_of_the_whole_run_undoes_it(shop: Shop) -> None:
    @shop.app.saga(timeout=60)
    async def limited(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.wait_signal("never")

    handle = limited.start()
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(seconds=61)
    assert shop.settle(handle) == "COMPENSATED"
    assert handle.run().verdict == "timed out"
    assert shop.effects() == ["a", "undo a a done"]


def let_time_pass(shop: Shop) -> None:
    """A minute, in which no worker comes for the task."""
    shop.harness.advance(seconds=61)
    shop.app.database.run(shop.app.sagas.wake_due)
    while stretches := [row for row in shop.harness._due() if row[1] != "work"]:
        for job, task in stretches:
            shop.harness._run(job, shop.app.tasks[task])


def test_task_that_takes_too_long_is_ended_and_gets_another_attempt_then_it_is_a_timeout(shop: Shop) -> None:
    @shop.app.saga
    async def limited(saga: Saga) -> None:
        await saga.step(shop.app.tasks["work"], "a", timeout=60, retry=Retry(attempts=2, delay=5))

    handle = limited.start()
    [(job, task)] = shop.harness._woken_or_due()
    shop.harness._run(job, shop.app.tasks[task])  # its first stretch only: the task waits for a worker
    let_time_pass(shop)
    [step] = handle.history()
    assert (step.state, step.attempt, step.timed_out) == ("RETRY", 1, True)
    assert step.error == "step work took longer than it may"
    assert step.due_at is not None
    let_time_pass(shop)
    [again] = handle.history()
    assert (again.state, again.attempt, again.timed_out) == ("WAITING", 2, False)
    assert shop.query("SELECT id FROM trilho.jobs WHERE task = 'work' AND finished_at IS NULL") == [(again.job_id,)]
    let_time_pass(shop)
    assert shop.settle(handle) == "COMPENSATED"
    assert handle.run().error == "SagaTimeout: step work took longer than it may"
    assert shop.effects() == []


def test_attempt_after_a_timeout_may_complete_the_task(shop: Shop) -> None:
    @shop.app.saga
    async def limited(saga: Saga) -> str:
        return await saga.step(shop.app.tasks["work"], "a", timeout=60)

    handle = limited.start()
    [(job, task)] = shop.harness._woken_or_due()
    shop.harness._run(job, shop.app.tasks[task])
    let_time_pass(shop)
    shop.harness.advance(seconds=5)
    assert shop.settle(handle) == "COMPLETED"
    [step] = handle.history()
    assert (step.state, step.attempt, step.timed_out, step.error) == ("DONE", 2, False, None)
    assert shop.effects() == ["a"]


# ---- other sagas


def family(shop: Shop, ending: Callable[..., Any]) -> Any:
    @shop.app.saga(name="child")
    async def child(saga: Saga, what: str) -> str:
        result = await saga.step(do, what, undo=undo)
        if what == "bad":
            await saga.step(refuse, "child")
        return result

    @shop.app.saga(name="parent")
    async def parent(saga: Saga, what: str) -> str:
        await saga.step(do, "parent", undo=undo)
        told = await saga.call(child, what)
        await saga.step(ending, "end")
        return told

    return parent


def test_called_saga_gives_its_result(shop: Shop) -> None:
    handle = family(shop, do).start("x", id="p")
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == "x done"
    assert shop.app.sagas.get("p/2").run().parent_id == "p"


def test_called_saga_that_is_undone_fails_its_caller(shop: Shop) -> None:
    handle = family(shop, do).start("bad")
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["parent", "bad", "undo bad bad done", "undo parent parent done"]


def test_caller_that_is_undone_undoes_the_saga_that_it_called(shop: Shop) -> None:
    handle = family(shop, refuse).start("x", id="p")
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["parent", "x", "undo x x done", "undo parent parent done"]
    assert shop.app.sagas.get("p/2").run().verdict == "called off"


# ---- events


def stream(shop: Shop) -> Callable[[], None]:
    """Move events in threads; returns what stops them."""
    relay = Relay(shop.app.database, Identity(), tick=0.05)
    relay.start()
    stop = threading.Event()
    consumer = Consumer(
        shop.app.database, shop.app.bus.subscriptions.of(), shop.app.coroutines, ConsumerOptions("test", grace=5.0)
    )
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(timeout=15)
        relay.stop()

    return end


def test_events_are_neither_lost_nor_taken_twice_however_early_they_come(shop: Shop) -> None:
    @shop.app.saga(events=("paid",))
    async def paying(saga: Saga, order: str) -> list[int]:
        await saga.step(do, order)
        first = await saga.wait_event("paid", key=order, timeout=60)
        second = await saga.wait_event("paid", key=order, timeout=60)
        return [first["n"], second["n"]]

    shop.app.bus.publish("paid", {"n": 0}, key="a")  # before the run: none of its own
    shop.query("UPDATE trilho.outbox SET time = time - interval '1 hour'")
    early, late = paying.start("a"), paying.start("b")
    shop.app.bus.publish("paid", {"n": 1}, key="a")
    end = stream(shop)
    try:
        eventually(lambda: shop.query("SELECT count(*) FROM trilho.saga_mail"), lambda rows: rows == [(2,)])
        assert shop.settle(early) == "WAITING"
        assert shop.settle(late) == "WAITING"
        for key in ("a", "b", "b", "c"):
            shop.app.bus.publish("paid", {"n": 2}, key=key)
        eventually(lambda: (shop.settle(early), shop.settle(late)), lambda both: both == ("COMPLETED", "COMPLETED"))
    finally:
        end()
    assert early.get(1) == [1, 2]
    assert late.get(1) == [2, 2]


def test_delivery_keeps_each_event_of_each_source_and_leaves_out_what_nobody_can_wait_for(shop: Shop) -> None:
    def event(number: int, source: str, id_: str = "1", key: bytes = b"k") -> Event[Any]:
        return Event("paid", 0, number, id_, "paid", source, datetime.now(timezone.utc), key, number)

    events = [event(0, "bank"), event(1, "shop"), event(2, "bank"), event(3, "bank", "x" * 5000)]
    events.append(event(4, "bank", "2", random.Random(1).randbytes(4000)))
    with shop.app.transaction() as tx:
        Delivery(shop.app).keep(events, tx)
    assert shop.query("SELECT data FROM trilho.saga_mail ORDER BY number") == [("0",), ("1",), ("3",)]


def test_event_that_comes_while_the_run_suspends_is_seen(shop: Shop) -> None:
    """The race of a wait and a delivery, forced: the delivery comes between the look of the function and the end."""

    @shop.app.saga(events=("paid",))
    async def paying(saga: Saga) -> Any:
        return await saga.wait_event("paid", key="k")

    def deliver(point: str) -> None:
        if point == "saga.end_before_commit" and not shop.query("SELECT 1 FROM trilho.saga_mail"):
            shop.query(
                "INSERT INTO trilho.saga_mail (name, key, message_id, data, time)"
                " VALUES ('paid', 'k', 'm', '7', clock_timestamp())"
            )

    handle = paying.start()
    with shop.at_points(deliver):
        assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == 7


def test_signal_that_comes_while_the_run_suspends_is_seen(shop: Shop) -> None:
    handle = waiting_for_signal(shop).start()
    told = []

    def deliver(point: str) -> None:
        if point == "saga.loaded" and not told:
            told.append(point)
            handle.signal("answer", {"yes": True})
            handle.signal("answer", 2)

    with shop.at_points(deliver):
        assert shop.settle(handle) == "COMPLETED"


def test_run_that_is_not_its_own_can_be_neither_called_nor_undone(shop: Shop) -> None:
    """It would wait for ever: who called a run hears of its end, and nobody called this one."""
    parent = family(shop, do)
    child = shop.app.sagas.definitions["child"]

    @shop.app.saga(name="stranger")
    async def stranger(saga: Saga) -> None:
        await saga.call(child, "x", id="p/2")

    handle = parent.start("x", id="p")
    shop.settle(handle)
    other = stranger.start()
    assert shop.settle(other) == "COMPENSATED"
    assert other.run().error == f"DuplicateSaga: {DuplicateSaga('p/2')}"
    with pytest.raises(SagaFailed) as failed:
        other.get(1)
    assert str(failed.value.__cause__) == str(DuplicateSaga("p/2"))
    assert shop.app.sagas.get("p/2").state == "COMPLETED"


def test_run_that_is_being_undone_has_no_time_limit(shop: Shop) -> None:
    @shop.app.saga(timeout=60)
    async def limited(saga: Saga) -> None:
        await saga.step(do, "a", undo=shop.app.tasks["unwork"])
        await saga.step(refuse, "x")

    handle = limited.start()
    [(job, task)] = shop.harness._woken_or_due()
    shop.harness._run(job, shop.app.tasks[task])
    assert shop.query("SELECT state, wake_at FROM trilho.sagas") == [("COMPENSATING", None)]
    assert shop.settle(handle) == "COMPENSATED"
