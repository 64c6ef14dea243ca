"""kombu's Redis channel, without bookkeeping for wake-ups: what they speak of is a row, so losing one loses nothing.

Plain messages stay in kombu's `unacked` hash until they are rows, for Redis alone knows them. They come one by one;
wake-ups that wait behind one another come many at a time.
"""

from time import monotonic
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ResponseError

from trilho.jobs import codec
from trilho.jobs.enqueue import MARK
from trilho.jobs.pipe import MARKED
from trilho.worker.adoption import is_wakeup

AT_ONCE = 0.002
"""Seconds: a message that comes so soon after it was asked for has others behind it, most likely."""

MOST = 64
"""Messages of one round trip."""

TAKE_WAKEUPS = """
local taken = {}
for n = 1, tonumber(ARGV[1]) do
    local message = redis.call('LINDEX', KEYS[1], -1)
    if not message or not string.find(message, ARGV[2], 1, true) then break end
    taken[n] = redis.call('RPOP', KEYS[1])
end
return taken
"""
"""Stops at a plain message, which must never be between Redis and the `unacked` hash in numbers."""


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
        """The channel closes: put back what only Redis knows; later, where the connection is gone so far that Celery,
        which closes it twice, would end the worker for it."""
        for delivery_tag in [tag for tag, message in self._delivered.items() if is_wakeup(message)]:
            del self._delivered[delivery_tag]
        if self._delivered and self.channel.connection.client is not None:
            super().restore_unacked(client)
        self._delivered.clear()

    def _is_wakeup(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and is_wakeup(message)


class Channel(redis.Channel):  # type: ignore[misc]
    """The channel of a Trilho worker."""

    QoS = WakeupQoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._take: Any = None
        self._alone = False  # this server runs no scripts

    def _brpop_read(self, **options: Any) -> Any:
        """Read what BRPOP brought, and what is there besides, as far as the prefetch limit allows."""
        at_once = monotonic() - (self._brpop_sent_at or 0.0) < AT_ONCE
        read = super()._brpop_read(**options)
        if read and at_once and not self._alone:
            self._read_more(*self.connection.delivered)
        return read

    def _read_more(self, message: Any, queue: str) -> None:
        room = self.qos.can_consume_max_estimate()
        if room == 0 or not (message.get("headers") or {}).get(MARK):
            return
        if self._take is None:
            self._take = self._create_client().register_script(TAKE_WAKEUPS)
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        try:
            more = self._take(keys=[key], args=[min(MOST, room or MOST), MARKED])
        except ResponseError:
            self._alone = True
            return
        for each in more:
            self.connection._deliver(codec.loads(each.decode()), queue)


class Transport(redis.Transport):  # type: ignore[misc]
    """The transport of a Trilho worker for `redis://` and `rediss://`."""

    Channel = Channel
    delivered: tuple[Any, str] = ({}, "")

    def _deliver(self, message: Any, queue: str) -> None:
        """Hand a message over, and remember it: it tells where the next ones are."""
        self.delivered = message, queue
        super()._deliver(message, queue)
