"""What publishes, in a process of its own: `python -m bench.events.publish VERB …` prints one JSON line."""

import sys
import time
from collections.abc import Callable

from bench.events.order import KEYS, TOPIC, Order, fields, key
from bench.events.shop import PINGS, Ping, app
from bench.tally import say

MANY = 1000
PAUSE = 0.01
WARMING = 2.0


def rates(alone: int, twenties: int, many: int) -> None:
    """Events per second: each durable when `publish()` returns; transactions of twenty; `publish_many` of 1,000."""
    publish(1)
    batches = [range(start, start + MANY) for start in range(0, many, MANY)]
    say(
        {
            "alone": timed(alone, lambda: publish(alone)),
            "twenties": timed(twenties, lambda: [_transaction(start) for start in range(0, twenties, 20)]),
            "many": timed(len(batches) * MANY, lambda: [publish_many(batch, KEYS) for batch in batches]),
        }
    )


def backlog(events: int, keys: int = KEYS) -> None:
    """All in one commit, after one that warms the relay up; says when that was."""
    publish(1)
    time.sleep(WARMING)
    with app.transaction():
        for start in range(0, events, MANY):
            publish_many(range(start, min(events, start + MANY)), keys)
    say({"committed": time.monotonic()})


def pings(events: int, group: str) -> None:
    """One at a time while nothing else goes on; says when each was committed."""
    committed = {}
    for number in range(events):
        name = f"{group}-{number}"
        app.bus.publish(PINGS, Ping(name=name), key=name)
        committed[name] = time.monotonic()
        time.sleep(PAUSE)
    say(committed)


def publish(events: int) -> None:
    """One commit each."""
    for number in range(events):
        app.bus.publish(TOPIC, Order(**fields(number)), key=key(number))


def publish_many(numbers: range, keys: int) -> None:
    """One statement."""
    app.bus.publish_many(TOPIC, [(key(number, keys), Order(**fields(number))) for number in numbers])


def _transaction(start: int) -> None:
    with app.transaction():
        for number in range(start, start + 20):
            app.bus.publish(TOPIC, Order(**fields(number)), key=key(number))


def timed(events: int, action: Callable[[], object]) -> float:
    """Events per second."""
    begun = time.perf_counter()
    action()
    return events / (time.perf_counter() - begun)


VERBS: dict[str, Callable[..., None]] = {verb.__name__: verb for verb in (rates, backlog, pings)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*(int(given) if given.isdigit() else given for given in sys.argv[2:]))
