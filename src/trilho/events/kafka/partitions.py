"""How many partitions topics have in Kafka, which is the truth there; topics that are missing are made."""

import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from trilho.errors import KafkaAway
from trilho.events.kafka.cluster import Cluster
from trilho.events.topic import Topic

FRESH = 3.0
"""Seconds for which an answer is believed, unless something fails."""
VISIBLE = 5.0
"""Seconds after which a topic that was made has to be there."""


@dataclass
class Partitions:
    """Asked from many threads."""

    cluster: Cluster
    _known: dict[str, tuple[float, int]] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stale(self, names: Iterable[str]) -> set[str]:
        """Those about which Kafka has to be asked."""
        now = time.monotonic()
        return {name for name in names if self._known.get(name, (0.0, 0))[0] <= now}

    def of(self, names: Collection[str], declared: Collection[Topic]) -> dict[str, int]:
        """The number of each; raises KafkaAway, and KafkaRefused for a topic that cannot be had."""
        with self._lock:
            if asked := self.stale(names):
                self._ask(asked, {topic.name: topic for topic in declared})
            return {name: self._known[name][1] for name in names}

    def _ask(self, names: set[str], declared: dict[str, Topic]) -> None:
        found = self.cluster.topics(names)
        if missing := names - set(found):
            for error in self.cluster.make([declared.get(name) or Topic(name) for name in sorted(missing)]).values():
                raise error
        deadline = time.monotonic() + VISIBLE
        while missing := names - set(found):
            if time.monotonic() > deadline:
                raise KafkaAway(f"topics {sorted(missing)} were made in Kafka and cannot be seen yet")
            time.sleep(0.02)
            found |= self.cluster.topics(missing)
        for name, topic in found.items():
            self._known[name] = time.monotonic() + FRESH, topic.partitions
            self._found[name] = topic.partitions

    def forget(self, names: Iterable[str]) -> None:
        """Something failed with these topics: ask again."""
        with self._lock:
            for name in names:
                self._known.pop(name, None)

    def found(self) -> dict[str, int]:
        """What Kafka said since the last call."""
        with self._lock:
            found, self._found = self._found, {}
        return found
