"""What a reader with `isolation.level=read_committed` sees of topics, from their beginning."""

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Message, TopicPartition

QUIET = 1.0
"""Seconds without anything new after which nothing more is expected."""


@dataclass
class Reader:
    """Reads all partitions of some topics."""

    bootstrap: str
    topics: tuple[str, ...]
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": uuid4().hex,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 0,
            }
        )
        self._assigned: set[tuple[str, int]] = set()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._consumer.close()

    def _assign(self) -> None:
        listed = self._consumer.list_topics(timeout=10).topics
        there = {(name, n) for name in self.topics if name in listed for n in listed[name].partitions}
        if new := sorted(there - self._assigned):
            self._consumer.incremental_assign([TopicPartition(name, n, 0) for name, n in new])
            self._assigned |= there

    def read(self, count: int, timeout: float = 45.0) -> "Reader":
        """Read until there are `count` messages and nothing more comes; AssertionError after `timeout` seconds."""
        deadline = quiet_at = time.monotonic() + timeout
        while time.monotonic() < min(deadline, quiet_at):
            self._assign()
            if new := [message for message in self._consumer.consume(1000, 0.2) if message.error() is None]:
                self.messages += new
                quiet_at = deadline
            if len(self.messages) >= count and not new:
                quiet_at = min(quiet_at, time.monotonic() + QUIET)
        assert len(self.messages) == count, f"{len(self.messages)} messages, not {count}"
        return self

    def values(self) -> dict[str, list[Any]]:
        """The data by key, in the order in which a reader of its partition sees it."""
        seen: dict[str, list[Any]] = defaultdict(list)
        for message in self.messages:
            seen[(message.key() or b"").decode()].append(json.loads(message.value() or b"null"))
        return dict(seen)
