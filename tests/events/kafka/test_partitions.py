"""Partitions are asked for by threads that may wait for Kafka, and used by one that must not."""

import threading
from collections.abc import Collection

from trilho.events.kafka.cluster import Cluster, KafkaTopic
from trilho.events.kafka.partitions import Partitions

SOME_TIME = 10.0


class SlowCluster(Cluster):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1")
        self.asked, self.answers = threading.Event(), threading.Event()

    def topics(self, names: Collection[str]) -> dict[str, KafkaTopic]:
        self.asked.set()
        assert self.answers.wait(SOME_TIME)
        return {name: KafkaTopic(name, "i", 3) for name in names}


def test_nobody_but_who_asks_waits_for_kafka() -> None:
    cluster = SlowCluster()
    partitions = Partitions(cluster)
    answer: list[dict[str, int]] = []
    asking = threading.Thread(target=lambda: answer.append(partitions.of({"t"}, [])))
    asking.start()
    assert cluster.asked.wait(SOME_TIME)

    def relay() -> None:
        partitions.forget(["t"])
        assert (partitions.stale({"t"}), partitions.found()) == ({"t"}, {})

    relaying = threading.Thread(target=relay, daemon=True)
    relaying.start()
    relaying.join(SOME_TIME / 2)
    assert not relaying.is_alive()
    cluster.answers.set()
    asking.join()
    assert (answer, partitions.stale({"t"}), partitions.found()) == ([{"t": 3}], set(), {"t": 3})


def test_topics_that_failed_are_asked_for_again() -> None:
    cluster = SlowCluster()
    cluster.answers.set()
    partitions = Partitions(cluster)
    partitions.of({"t", "u"}, [])
    partitions.forget(["t"])
    assert partitions.stale({"t", "u"}) == {"t"}
