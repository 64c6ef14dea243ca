"""The four stacks of a round, each measured in processes of its own."""

import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.child import Child, ask
from bench.events.order import KEYS
from bench.figures import Figures, quantile

PINGS = 200
"""Events whose latency is measured; the first tenth warms up."""
SETTLE = 60.0
DEFAULT_BATCH = 100
LEFT = "SELECT EXISTS (SELECT FROM trilho.outbox)"


@dataclass(frozen=True)
class Load:
    """Events of each figure; the slow get fewer, so that all take some seconds."""

    rounds: int
    events: int

    @property
    def few(self) -> int:
        """For what does one event at a time."""
        return self.events // 20


class Stack(ABC):
    """One way to produce and to consume."""

    @abstractmethod
    def prepare(self, load: Load) -> None:
        """Fill what every round reads from."""

    @abstractmethod
    def visit(self, load: Load) -> Figures:
        """All figures of one round."""


def _consumed(told: Figures) -> dict[str, float]:
    return {"consume": told["rate"], "cpu": told["cpu"]}


def new_group() -> str:
    """A group that nobody had: it reads from the beginning."""
    return f"bench-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Peer(Stack):
    """A module that takes `BOOTSTRAP produce|consume EVENTS [GROUP]`."""

    module: str
    bootstrap: str
    python: Path | None = None
    slow: bool = False

    def prepare(self, load: Load) -> None:
        """Nothing: a round produces before it consumes."""

    def visit(self, load: Load) -> Figures:
        """Produce, then consume what the raw loop has produced."""
        events = load.few * 2 if self.slow else load.events * 4
        produced = ask([self.module, self.bootstrap, "produce", events], python=self.python)
        with Child([self.module, self.bootstrap, "consume", events, new_group()], python=self.python) as child:
            consumed = child.answer()
        alone, many = ("rate", "unconfirmed") if self.slow else ("", "rate")
        figures = {"many": produced[many], "consume_untold": consumed["rate"], **_consumed(consumed)}
        return figures | ({"alone": produced[alone]} if alone else {})


@dataclass(frozen=True)
class TrilhoStack(Stack):
    """Trilho on one of the logs: dispatcher and consumer are the commands of production."""

    environment: dict[str, str]

    def prepare(self, load: Load) -> None:
        """Enough that no round reaches the end of the topic."""
        with self.dispatcher():
            self.relay(load.events)

    def visit(self, load: Load) -> Figures:
        """Relay, time single events on an idle stack, consume, publish without a dispatcher."""
        with self.dispatcher():
            figures = {"relay": self.relay(load.events)} | self.latency()
        return figures | self.consume(load.events) | self.variants(load.events // 2) | self.publish(load)

    def variants(self, events: int) -> dict[str, float]:
        """Consuming with other options than the batch of 500: with all defaults, and without a timeline."""
        without = TrilhoStack(self.environment | {"BENCH_TIMELINE": "off"})
        return {
            "consume_default": self.consume(events, DEFAULT_BATCH)["consume"],
            "consume_untold": without.consume(events)["consume"],
        }

    def publish(self, load: Load) -> dict[str, float]:
        """Events per second into the outbox."""
        return self._ask("rates", load.few // 2, load.few * 2, load.events // 2)

    def dispatcher(self) -> Child:
        """The process that relays."""
        return Child(["trilho.cli", "dispatcher", "-A", "bench.events.shop"], self.environment)

    def relay(self, events: int, keys: int = KEYS) -> float:
        """Events per second from the commit of a backlog until the outbox is empty; a dispatcher runs and is warm."""
        committed = self._ask("backlog", events, keys)["committed"]
        return events / (self.settle() - committed)

    def settle(self) -> float:
        """Wait for an empty outbox; when that was."""
        deadline = time.monotonic() + SETTLE
        with psycopg.connect(self.environment["TRILHO_DATABASE_URL"], autocommit=True) as connection:
            while time.monotonic() < deadline:
                row = connection.execute(LEFT).fetchone()
                if row == (False,):
                    return time.monotonic()
                time.sleep(0.01)
        raise RuntimeError(f"the outbox was not empty within {SETTLE:.0f} s")

    def consume(self, events: int, batch: int = 500) -> dict[str, float]:
        """Events per second of one consumer process with its defaults but the batch."""
        group = new_group()
        with self._consumer(group, f"{group}-orders", events, batch) as child:
            answer = child.answer()
        return _consumed(answer)

    def latency(self) -> dict[str, float]:
        """Milliseconds from commit to handler of single events."""
        group = new_group()
        with self._consumer(group, f"{group}-pings", PINGS) as child:
            self._ask("pings", 1, group)
            child.answer()
            committed = self._ask("pings", PINGS, group)
            arrived = child.answer()
        delays = [1000 * (arrived[name] - at) for name, at in list(committed.items())[PINGS // 10 :]]
        return {"p50": quantile(delays, 0.5), "p99": quantile(delays, 0.99)}

    def _consumer(self, group: str, only: str, events: int, batch: int = 100) -> Child:
        told = {"BENCH_GROUP": group, "BENCH_EVENTS": str(events), "BENCH_BATCH": str(batch)}
        return Child(["trilho.cli", "consumer", "-A", "bench.events.shop", "-g", only], self.environment | told)

    def _ask(self, verb: str, *arguments: object) -> dict[str, float]:
        answer: dict[str, float] = ask(["bench.events.publish", verb, *arguments], self.environment)
        return answer
