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
    """Asked from many threads. Only `of` waits for Kafka: whoever calls the others holds rows of PostgreSQL."""

    cluster: Cluster
    _known: dict[str, tuple[float, int]] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of what is known: never held while Kafka is asked
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def stale(self, names: Iterable[str]) -> set[str]:
        """Those about which Kafka has to be asked."""
        wanted = set(names)
        return wanted - self._fresh(wanted).keys()

    def _fresh(self, names: Iterable[str]) -> dict[str, int]:
        now = time.monotonic()
        with self._lock:
            known = {name: self._known[name] for name in names if name in self._known}
        return {name: count for name, (until, count) in known.items() if until > now}

    def of(self, names: Collection[str], declared: Collection[Topic]) -> dict[str, int]:
        """The number of each; raises KafkaAway, and KafkaRefused for a topic that cannot be had."""
        with self._asking:
            known = self._fresh(names)
            asked = set(names) - known.keys()
            return known | self._ask(asked, {topic.name: topic for topic in declared}) if asked else known

    def _ask(self, names: set[str], declared: dict[str, Topic]) -> dict[str, int]:
        topics = self.cluster.topics(names)
        if missing := names - set(topics):
            for error in self.cluster.make([declared.get(name) or Topic(name) for name in sorted(missing)]).values():
                raise error
        deadline = time.monotonic() + VISIBLE
        while missing := names - set(topics):
            if time.monotonic() > deadline:
                raise KafkaAway(f"topics {sorted(missing)} were made in Kafka and cannot be seen yet")
            time.sleep(0.02)
            topics |= self.cluster.topics(missing)
        found = {name: topic.partitions for name, topic in topics.items()}
        until = time.monotonic() + FRESH
        with self._lock:
            self._known |= {name: (until, count) for name, count in found.items()}
            self._found |= found
        return found

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
