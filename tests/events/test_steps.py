"""Lanes are worked a step at a time: no call for a step is lost, none is answered more than once."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.events.world import World
from tests.lab.poll import eventually
from trilho.events.consumer import Consumer, ConsumerOptions
from trilho.events.event import Event
from trilho.events.retry import Retry
from trilho.events.steps import Steps


def test_call_while_a_step_runs_is_answered_by_one_more_step() -> None:
    steps = Steps()
    assert steps.call()
    steps.begin()
    assert [steps.call(), steps.call()] == [False, False]
    assert steps.end(able=True)
    assert steps.running
    steps.begin()
    assert not steps.end(able=True)
    assert not steps.running


def test_call_before_a_step_begins_is_answered_by_it() -> None:
    steps = Steps()
    assert steps.call()
    assert not steps.call()
    steps.begin()
    assert not steps.end(able=True)


def test_lane_that_is_not_able_to_go_on_is_started_anew_by_the_next_call() -> None:
    steps = Steps()
    steps.call()
    steps.begin()
    steps.call()
    assert not steps.end(able=False)
    assert not steps.running
    assert steps.call()


def test_one_step_runs_at_a_time_and_sees_what_was_called_for() -> None:
    steps, wanted, seen, running = Steps(), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal seen
        again = True
        while again:
            assert running.acquire(blocking=False)
            steps.begin()
            seen = wanted
            running.release()
            again = steps.end(able=True)

    threads = []
    for _ in range(2_000):
        wanted += 1
        if steps.call():
            threads.append(threading.Thread(target=work))
            threads[-1].start()
    for thread in threads:
        thread.join()
    assert (seen, steps.running) == (wanted, False)


def slowly(fetch: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def slow(*args: Any) -> Any:
        time.sleep(seconds)
        return fetch(*args)

    return slow


def test_lanes_whose_steps_overlap_come_to_rest(ours: World, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = ours.name("t")
    ours.streams.create(topic, 20)
    ours.subscribe(topic, ours.name("g"))
    subscriptions = ours.app.bus.subscriptions.of()
    consumer = Consumer(ours.app.database, subscriptions, ours.app.coroutines, ConsumerOptions("test"))
    monkeypatch.setattr(consumer.log, "fetch", slowly(consumer.log.fetch, 0.01))
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: len(consumer.workers) == 20)
        for _ in range(5):
            consumer.bell.ring(None)  # as announcements do: some steps run, others wait for a thread
            time.sleep(0.005)
        eventually(lambda: not any(worker.steps.running for worker in consumer.workers.values()), every=0.001)
    finally:
        stop.set()
        thread.join()


def test_event_is_retried_in_time_though_another_topic_is_never_silent(ours: World) -> None:
    loud, quiet = ours.name("loud"), ours.name("quiet")
    tries: list[int] = []
    ours.subscribe(loud, ours.name("g"))

    @ours.app.bus.subscribe(quiet, group=ours.name("g"), retry=Retry(attempts=2, delay=0.1))
    def handle(event: Event[dict[str, int]]) -> None:
        tries.append(event.data["n"])
        if len(tries) == 1:
            raise ValueError("broken on purpose")

    ours.relay()
    ours.consumer()
    ours.app.bus.publish(quiet, {"n": 1})

    def publish() -> bool:
        ours.app.bus.publish(loud, {"n": 1})
        return len(tries) == 2

    eventually(publish)  # more often than there is a tick
