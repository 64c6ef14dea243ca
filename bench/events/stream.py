"""FastStream on confluent-kafka: a typed async handler, each event acknowledged when it was handled.

`python -m bench.events.stream BOOTSTRAP produce|consume EVENTS [GROUP]`, with the peers' interpreter.
"""

import asyncio
import logging
import sys
import time

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker

from bench.events.order import PLAIN, Order, fields, key
from bench.tally import Tally, say

OTHER = "bench.faststream"
"""What it produces goes to a topic of its own: its headers must not slow the raw loop down."""


async def produce(bootstrap: str, events: int) -> None:
    """One after the other, each acknowledged."""
    async with KafkaBroker(bootstrap, logger=None) as broker:
        await broker.publish(Order(**fields(0)), OTHER, key=key(0))
        begun = time.perf_counter()
        for number in range(events // 10):
            await broker.publish(Order(**fields(number)), OTHER, key=key(number))
        one_by_one = events // 10 / (time.perf_counter() - begun)
        begun = time.perf_counter()
        sent = [await broker.publish(Order(**fields(n)), OTHER, key=key(n), no_confirm=True) for n in range(events)]
        await asyncio.gather(*sent)
        say({"rate": one_by_one, "unconfirmed": events / (time.perf_counter() - begun)})


async def consume(bootstrap: str, events: int, group: str) -> None:
    """Until the parent ends this process."""
    broker, tally = KafkaBroker(bootstrap, log_level=logging.ERROR), Tally(events)

    @broker.subscriber(PLAIN, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.ACK)
    async def handle(order: Order) -> None:
        tally()

    await FastStream(broker).run(log_level=logging.ERROR)


if __name__ == "__main__":
    server, verb, count, *group = sys.argv[1:]
    asyncio.run(produce(server, int(count)) if verb == "produce" else consume(server, int(count), *group))
