"""The same small shop on Celery and on Trilho, under the same kills and flushes, its ledger counted.

`python -m bench.proof` prints a markdown table; it starts its own servers and takes about four minutes.
"""

import math
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from tests.lab import database
from tests.lab.ledger import Ledger
from tests.lab.servers import scratch
from tests.lab.worker import Worker, WorkerOptions

from bench.proof_app import LONGEST_JOB, SCHEMA, STACKS, VISIBILITY_TIMEOUT, Shop
from trilho.embedded import Postgres, Valkey

SEED = 20
FAULTS = ("kill a worker", "kill a pool process", "flush the broker", "restart the broker") * 2
FAULT_INTERVAL = 8.0
"""Seconds, a multiple of the bursts: every fault meets orders that wait and orders that are being charged."""
ORDERS_IN_A_BURST = 20
BURST_INTERVAL = 2.0
OUTAGE = timedelta(seconds=2)
"""How long after its moment a fault may still lose what is new: the broker is down for a second."""
AFTER_BURST = 0.5
"""Seconds from a burst to the fault: some orders are charged, some are being charged, some wait."""
QUIET = 2.0 * VISIBILITY_TIMEOUT + 5.0
"""Seconds without any charge after which what is missing counts as lost."""


@dataclass(frozen=True)
class Outcome:
    """What one stack made of the orders.

    `recoveries` are the seconds from each fault until every order that waited at that moment was charged: infinite
    where one of them never was.
    """

    stack: str
    orders: int
    lost: int
    charged_twice: int
    completed_twice: int
    recoveries: list[float]

    def row(self) -> str:
        """One line of the table."""
        counts = f"{self.orders} | {self.lost} | {self.charged_twice} | {self.completed_twice}"
        median, worst = statistics.median_high(self.recoveries), max(self.recoveries)
        return f"| {self.stack} | {counts} | {spoken(median)} | {spoken(worst)} |"


@dataclass
class Stand:
    """The servers and workers of one run; a worker that ended is started again within half a second."""

    stack: str
    folder: Path
    broker: Valkey
    database_url: str
    ledger: Ledger
    workers: list[Worker] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def environment(self) -> dict[str, str]:
        """What the shop reads, here and in the workers."""
        return {
            "PROOF_STACK": self.stack,
            "PROOF_BROKER": self.broker.url(),
            "PROOF_DATABASE": self.database_url,
            "PROOF_LEDGER": self.ledger.url,
        }

    def start_worker(self, name: str) -> Worker:
        """Start a worker without waiting for it."""
        options = WorkerOptions(name, "bench.proof_app", self.environment())
        return Worker(options, self.folder).start(wait=False)

    def supervise(self) -> None:
        """Start again what ended, for whatever reason, until the run is over."""
        while not self.over.wait(0.5):
            for number, worker in enumerate(self.workers):
                if not worker.alive:
                    worker.end()
                    self.workers[number] = self.start_worker(worker.options.name)

    def end_workers(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            worker.end()

    def hurt(self, kind: str, chance: random.Random) -> None:
        """Do one fault."""
        worker = chance.choice(self.workers)
        if kind == "kill a worker":
            worker.signal(signal.SIGKILL)
        elif kind == "kill a pool process":
            for child in worker.pool()[:1]:
                child.kill()
        elif kind == "flush the broker":
            with redis.Redis.from_url(self.broker.url()) as client:
                client.flushall()
        else:
            self.broker.kill()
            time.sleep(1.0)
            self.broker.start()

    def charged(self) -> dict[str, list[datetime]]:
        """When each order was charged, as committed."""
        found: dict[str, list[datetime]] = {}
        with database.connect(self.database_url) as connection:
            for key, at in connection.execute("SELECT key, charged_at FROM charges ORDER BY charged_at"):
                found.setdefault(key, []).append(at)
        return found

    def saved(self) -> dict[str, datetime]:
        """When each order was saved."""
        with database.connect(self.database_url) as connection:
            return dict(connection.execute("SELECT key, saved_at FROM orders").fetchall())


class Customers(threading.Thread):
    """Requests that keep coming in bursts; the same ones, in the same order, in every run."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(name="customers")
        self._shop = shop
        self._over = threading.Event()

    def run(self) -> None:
        """Order until told to stop."""
        chance = random.Random(SEED)
        begun, number = time.monotonic(), 0
        while not self._over.wait(BURST_INTERVAL - (time.monotonic() - begun) % BURST_INTERVAL):
            for _ in range(ORDERS_IN_A_BURST):
                number += 1
                seconds = LONGEST_JOB if number % 40 == 0 else chance.uniform(0.05, 0.3)
                with suppress(Exception):  # the customer sees an error page; the saved order stays
                    self._shop.order(f"order-{number}", seconds)

    def stop(self) -> None:
        """No new requests; returns when the last one is answered."""
        self._over.set()
        self.join()


def run(stack: str, server: str) -> Outcome:
    """One run of the shop on one stack, through all faults and until nothing moves any more."""
    with ExitStack() as context:
        stand = context.enter_context(prepared(stack, server))
        customers = Customers(STACKS[stack]())
        customers.start()
        begun, moments = time.monotonic() + AFTER_BURST, []
        chance = random.Random(SEED)
        for number, kind in enumerate(FAULTS, start=1):
            time.sleep(max(0.0, begun + number * FAULT_INTERVAL - time.monotonic()))
            moments.append(datetime.now(UTC))
            note(f"{stack}: {kind}")
            stand.hurt(kind, chance)
        time.sleep(FAULT_INTERVAL)
        customers.stop()
        settle(stand)
        outcome = count(stand, moments)
        note(", ".join(f"{kind}: {spoken(after)}" for kind, after in zip(FAULTS, outcome.recoveries, strict=True)))
        return outcome


@contextmanager
def prepared(stack: str, server: str) -> Iterator[Stand]:
    """Fresh servers, a fresh database, two workers with two processes each."""
    with ExitStack() as context:
        broker = Valkey(context.enter_context(scratch()), append_only=True)
        broker.start()
        context.callback(broker.stop)
        url = database.create(server, prefix="shop")
        with database.connect(url) as connection:
            connection.execute(SCHEMA)
        if stack == "Trilho":
            database.bring_up_to_date(url)
        stand = Stand(stack, context.enter_context(scratch()), broker, url, Ledger.create(server))
        os.environ.update(stand.environment())
        stand.workers += [stand.start_worker("w1"), stand.start_worker("w2")]
        context.callback(stand.end_workers)
        for worker in stand.workers:
            worker.wait_ready()
        supervisor = threading.Thread(target=stand.supervise, name="supervisor")
        supervisor.start()
        context.callback(supervisor.join)
        context.callback(stand.over.set)
        yield stand


def settle(stand: Stand) -> None:
    """Wait until every order is charged, or nothing has happened for a long time."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET:
        charged = stand.charged()
        if stand.saved().keys() <= charged.keys():
            time.sleep(LONGEST_JOB + 1)
            return
        if len(charged) != seen:
            seen, since = len(charged), time.monotonic()
        time.sleep(0.5)


def count(stand: Stand, moments: list[datetime]) -> Outcome:
    """Read the tables that no stack knows of."""
    saved, charged = stand.saved(), stand.charged()
    lost = [at for key, at in saved.items() if key not in charged]
    return Outcome(
        stack=stand.stack,
        orders=len(saved),
        lost=len(lost),
        charged_twice=sum(len(times) > 1 for times in charged.values()),
        completed_twice=sum(times > 1 for times in stand.ledger.done().values()),
        recoveries=[
            math.inf if caused_a_loss(number, moments, lost) else recovery(moment, saved, charged)
            for number, moment in enumerate(moments)
        ],
    )


def recovery(moment: datetime, saved: dict[str, datetime], charged: dict[str, list[datetime]]) -> float:
    """Seconds until the last order that had been saved at this moment, and was charged at all, was charged."""
    before = [charged[key][0] for key, at in saved.items() if at <= moment and key in charged]
    return max(0.0, (max(before) - moment).total_seconds()) if before else 0.0


def caused_a_loss(number: int, moments: list[datetime], lost: list[datetime]) -> bool:
    """Whether an order was lost that had been saved since the fault before, up to the end of this one's outage."""
    begin = moments[number - 1] + OUTAGE if number else datetime.min.replace(tzinfo=UTC)
    end = moments[number] + OUTAGE if number < len(moments) - 1 else datetime.max.replace(tzinfo=UTC)
    return any(begin < at <= end for at in lost)


def spoken(seconds: float) -> str:
    """As it stands in the table."""
    return "never" if math.isinf(seconds) else f"{seconds:.1f} s"


def note(text: str) -> None:
    """Tell how far it is; the table alone goes to the standard output."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run every stack, print the table."""
    chosen = [stack for stack in STACKS if not sys.argv[1:] or stack in sys.argv[1:]]
    with scratch() as folder:
        server = Postgres(folder)
        server.start()
        try:
            outcomes = [run(stack, server.url()) for stack in chosen]
        finally:
            server.stop()
    print("| | orders | lost | charged twice | ran to the end twice | recovered after: median | worst |")
    print("|---|---|---|---|---|---|---|")
    for outcome in outcomes:
        print(outcome.row())


if __name__ == "__main__":
    main()
