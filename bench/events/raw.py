"""A loop around confluent-kafka, as people write it: no types, a commit every 500 events.

`python -m bench.events.raw BOOTSTRAP produce|consume EVENTS [TOPIC | GROUP]`
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer

from bench.events.order import PLAIN, fields, key
from bench.tally import Tally, say

BATCH = 500


def produce(bootstrap: str, events: int, topic: str = PLAIN) -> None:
    """Until all are acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 1_000_000})
    begun = time.perf_counter()
    for number in range(events):
        producer.produce(topic, json.dumps(fields(number)).encode(), key(number).encode())
        if number % BATCH == 0:
            producer.poll(0)
    producer.flush()
    say({"rate": events / (time.perf_counter() - begun)})


def consume(bootstrap: str, events: int, group: str) -> None:
    """Until the parent ends this process."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([PLAIN])
    tally = Tally(events)
    while True:
        messages = consumer.consume(BATCH, 1.0)
        for message in messages:
            handle(json.loads(message.value() or b"null"))
            tally()
        if messages:
            consumer.commit(asynchronous=False)


def handle(order: dict[str, object]) -> None:
    """Nothing: what is left is the price of the loop."""


if __name__ == "__main__":
    server, verb, count, *name = sys.argv[1:]
    if verb == "produce":
        produce(server, int(count), *name)
    else:
        consume(server, int(count), *name)
