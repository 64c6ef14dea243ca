"""What was fetched of one partition and is not done with: handed out in batches, from memory; bounded."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from confluent_kafka import Message

MOST = 10_000
MOST_BYTES = 16_000_000
FEW = 0.5
"""Fetching is paused at the most, and goes on below this part of it."""


@dataclass
class Buffer:
    """Everything of a partition from `start` up to `end` that is still there; Kafka's offsets have gaps of their own.

    One thread fills it, others read it.
    """

    start: int
    generation: int
    end: int = -1
    paused: bool = False
    seek_to: int | None = None
    told: int = -1
    """The offset that Kafka's own group was told last."""
    _messages: deque[Message] = field(default_factory=deque)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.end = self.start

    def add(self, messages: Sequence[Message]) -> None:
        """Append what was fetched; what was asked for before a seek, or twice, is dropped."""
        with self._lock:
            for message in messages:
                offset = message.offset() or 0
                if offset < self.end or self.seek_to is not None:
                    continue
                self._messages.append(message)
                self._bytes += len(message)
                self.end = offset + 1

    def read(self, offset: int, limit: int) -> list[Message] | None:
        """Up to `limit` messages from an offset on, which stay here until they are done; None if it is not at hand."""
        with self._lock:
            if not self.start <= offset <= self.end:
                return None
            self._drop_before(offset)
            return list(islice(self._messages, limit))

    def done(self, offset: int) -> None:
        """Everything before this offset is done."""
        with self._lock:
            if self.start <= offset <= self.end:
                self._drop_before(offset)

    def _drop_before(self, offset: int) -> None:
        messages = self._messages
        while messages and (messages[0].offset() or 0) < offset:
            self._bytes -= len(messages.popleft())
        self.start = offset

    def begin_at(self, offset: int) -> None:
        """Forget everything, and ask for a seek."""
        with self._lock:
            self._messages.clear()
            self._bytes = 0
            self.start = self.end = self.seek_to = offset

    def skip_to(self, offset: int) -> None:
        """Nothing is left before this offset: ask for a seek, whoever reads goes on from where it is."""
        with self._lock:
            self.end = self.seek_to = offset

    def sought(self, offset: int) -> None:
        """The seek took place: what comes now is wanted, unless it is to be another one by now."""
        with self._lock:
            if self.seek_to == offset:
                self.seek_to = None

    @property
    def is_full(self) -> bool:
        """Whether fetching should pause."""
        return len(self._messages) >= MOST or self._bytes >= MOST_BYTES

    @property
    def is_low(self) -> bool:
        """Whether fetching should go on."""
        return len(self._messages) <= MOST * FEW and self._bytes <= MOST_BYTES * FEW
