"""The producer of a shard, without a broker."""

import threading

from tests.lab.poll import eventually
from trilho.events.kafka.sender import Sender


def test_whoever_drops_a_producer_does_not_wait_for_its_end() -> None:
    ended: list[threading.Thread] = []

    class Producer:
        def __del__(self) -> None:
            ended.append(threading.current_thread())

    sender = object.__new__(Sender)
    sender._producer = Producer()  # type: ignore[assignment]
    del sender
    assert eventually(lambda: ended) != [threading.current_thread()]
