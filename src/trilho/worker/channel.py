"""kombu's Redis channel, without bookkeeping for wake-ups: what they speak of is a row, so losing one loses nothing.

Plain messages stay in kombu's `unacked` hash until they are rows, for Redis alone knows them.
"""

from typing import Any

from kombu.transport import redis, virtual

from trilho.worker.adoption import is_wakeup


class WakeupQoS(redis.QoS):  # type: ignore[misc]
    """Counts wake-ups against the prefetch limit in memory only; two round trips less for each."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message was received."""
        if is_wakeup(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """A message was dealt with."""
        if self._is_wakeup(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """A message was refused, or comes too late for a consumer that is being cancelled."""
        if self._is_wakeup(delivery_tag):
            if requeue:
                virtual.Channel._restore(self.channel, self._delivered[delivery_tag])
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().reject(delivery_tag, requeue)

    def restore_unacked(self, client: Any = None) -> None:
        """The channel closes: put back what only Redis knows."""
        for delivery_tag in [tag for tag, message in self._delivered.items() if is_wakeup(message)]:
            del self._delivered[delivery_tag]
        super().restore_unacked(client)

    def _is_wakeup(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and is_wakeup(message)


class Channel(redis.Channel):  # type: ignore[misc]
    """The channel of a Trilho worker."""

    QoS = WakeupQoS


class Transport(redis.Transport):  # type: ignore[misc]
    """The transport of a Trilho worker for `redis://` and `rediss://`."""

    Channel = Channel
