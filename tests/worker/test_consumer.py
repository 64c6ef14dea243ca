"""What a worker does while its broker is away is not lost when the broker comes and goes again."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from kombu.asynchronous import Hub

from trilho.jobs.enqueue import MARK
from trilho.worker.channel import WakeupQoS
from trilho.worker.consumer import JobConsumer


class Gone:
    """A connection to a broker that answers once, to whoever asks whether it is back."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.default_channel = None

    def clone(self) -> "Gone":
        return Gone(seconds=0.7)  # longer than the consumer waits before it goes on without a broker

    def connect(self) -> None:
        if not self._seconds:
            raise ConnectionError("gone again")
        time.sleep(self._seconds)

    def release(self) -> None: ...


@pytest.fixture
def consumer() -> Iterator[JobConsumer]:
    """A consumer with a real event loop, and nothing else."""
    consumer: Any = JobConsumer.__new__(JobConsumer)
    consumer.hub = Hub()
    consumer.timer, consumer.timer_entries_before_start, consumer.timer_entries_registered = (
        consumer.hub.timer,
        set(),
        None,
    )
    consumer.pool, consumer.controller, consumer.batcher = Mock(), Mock(), Mock(closed=False)
    consumer._handle, consumer._soon, consumer._loop_thread = Mock(), [], threading.get_ident()
    yield consumer
    consumer.hub.close()


def test_timers_of_a_worker_outlive_a_broker_that_goes_away_while_it_connects(consumer: JobConsumer) -> None:
    rung: list[str] = []
    consumer.hub.call_soon(lambda: consumer.later(1.0, lambda: consumer.call_soon(rung.append, "later")))
    with pytest.raises(ConnectionError):
        consumer.ensure_connected(Gone())
    assert rung == []
    consumer._cancel_connection_timer_entries()  # as Celery does then
    consumer._pump(1.2)
    assert rung == ["later"]


@pytest.mark.parametrize("runs", [True, False])
def test_wake_up_for_a_job_that_is_at_hand_has_it_begun_or_handed_out_again(consumer: JobConsumer, runs: bool) -> None:
    batcher: Any = consumer.batcher
    batcher.knows.return_value, batcher.came_again.return_value = True, runs
    consumer._taken, consumer.clerk = 0, Mock()
    consumer._take_over([SimpleNamespace(id="a")])  # type: ignore[list-item]
    consumer._pump(0.4)
    assert (batcher.schedule.called, consumer.clerk.submit.called) == (not runs, runs)


@pytest.mark.parametrize("headers", [{MARK: 1, "id": "a"}, {"id": "a"}])
def test_channel_whose_connection_is_gone_closes_all_the_same(headers: dict[str, object]) -> None:
    channel = Mock(do_restore=True)
    channel.connection.client = None
    channel.conn_or_acquire.side_effect = AttributeError("'NoneType' object has no attribute 'hostname'")
    qos = WakeupQoS(channel)
    qos._delivered["tag"] = Mock(headers=headers)
    qos.restore_unacked_once()
    assert not qos._delivered
