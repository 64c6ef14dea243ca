"""A line to Redis: pushes go out at once, and their answers are read later."""

from collections.abc import Callable, Sequence
from typing import Any

import redis

MOST_UNANSWERED = 48_000
"""Bytes under way: fewer than a socket takes without waiting, even if the server stands still."""


class Line:
    """One connection of its own; not for two threads at a time. Raises what redis-py raises."""

    def __init__(self, connection: Any, key_of: Callable[[str, int], str]) -> None:
        self._connection = connection
        self._key_of = key_of
        self._unanswered = 0
        self._size = 0

    @classmethod
    def of(cls, channel: Any) -> "Line | None":
        """A line to the server of a kombu channel; None for one whose client does more than send what it is told."""
        if type(getattr(channel, "client", None)) is not redis.Redis:
            return None
        return cls(channel.client.connection_pool.get_connection(), channel._q_for_pri)

    def push(self, queue: str, priority: int, payloads: Sequence[str]) -> bool:
        """LPUSH without waiting; False if too much is unanswered, or the server has hung up."""
        if self.is_open and self._unanswered == 0 and self._says_something():  # unasked, that is a farewell
            self.close()
        if not self.is_open:  # whoever sends would connect, and wait for that
            return False
        packed = self._connection.pack_command("LPUSH", self._key_of(queue, priority), *payloads)
        size = sum(map(len, packed))
        if self._size + size > MOST_UNANSWERED:
            return False
        self._connection.send_packed_command(packed, check_health=False)
        self._unanswered += 1
        self._size += size
        return True

    @property
    def is_open(self) -> bool:
        """Whether nobody is known to have hung up."""
        return bool(self._connection.is_connected)

    def _says_something(self) -> bool:
        try:
            return bool(self._connection.can_read())
        except redis.RedisError:
            return True

    def read(self) -> None:
        """Wait for what is unanswered; raises if the server has refused any of it."""
        unanswered, self._unanswered, self._size = self._unanswered, 0, 0
        for _ in range(unanswered):
            self._connection.read_response()

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()
