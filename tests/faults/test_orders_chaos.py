"""Orders in all three ways at once, while processes and servers are killed at random; then everything must add up.

`TRILHO_CHAOS_ORDERS=2000` for a long run, `TRILHO_CHAOS_LOGS=postgres,kafka` for both logs, `TRILHO_CHAOS_SEED`.
"""

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest

from loja.contracts.stream import Mode
from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.lab.servers import missing, scratch
from tests.loja.orders import street as streets
from tests.loja.orders.street import ENDS, Street, random_order
from tests.loja.shop import Shop, opened
from trilho.embedded import Postgres, Valkey

ORDERS = int(os.environ.get("TRILHO_CHAOS_ORDERS", "30"))
SEED = int(os.environ.get("TRILHO_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
LOGS = os.environ.get("TRILHO_CHAOS_LOGS", "postgres").split(",")
MODES: tuple[str, ...] = get_args(Mode)
SECONDS = 12 + ORDERS / 6
"""How long orders are placed and things are killed."""
ENDING = 90 + ORDERS / 10
WORKERS, CONSUMERS = ("w1", "w2"), ("c1", "c2")


class Customers(threading.Thread):
    """Order until each order was answered; what was not answered may have been taken, too."""

    def __init__(self, street: Street) -> None:
        super().__init__(name="customers")
        self._street = street
        self.answered = 0

    def run(self) -> None:
        choose = random.Random(SEED)
        begun = time.monotonic()
        for number in range(ORDERS):
            body, mode = random_order(number, choose), MODES[number // 6 % len(MODES)]
            time.sleep(max(0.0, begun + SECONDS * number / ORDERS - time.monotonic()))
            while not self._accepted(body, mode):
                time.sleep(0.2)

    def _accepted(self, body: streets.Json, mode: str) -> bool:
        try:
            answer = self._street.shop.client.post("/orders", params={"mode": mode}, json=body)
        except httpx.TransportError:
            return False
        assert answer.status_code in {202, 503}, answer.text
        self.answered += answer.status_code == 202
        return answer.status_code == 202


class Chaos:
    """What can happen, each of it a method."""

    def __init__(self, street: Street, postgres: Postgres, valkey: Valkey, kafka: KafkaServer | None) -> None:
        self._street, self._postgres, self._valkey, self._kafka = street, postgres, valkey, kafka
        self._choose = random.Random(SEED)
        self._bag: list[Callable[[], None]] = []
        self.log: Counter[str] = Counter()

    def run(self, until: Callable[[], bool]) -> None:
        """One thing every second or two, each kind once before any comes again."""
        actions = [self.kill_worker, self.kill_consumer, self.kill_dispatcher, self.kill_postgres, self.kill_broker]
        actions += [self.kill_kafka] if self._kafka else []
        while not until():
            time.sleep(self._choose.uniform(1, 2.5))
            self._bag = self._bag or self._choose.sample(actions, len(actions))
            action = self._bag.pop()
            self.log[action.__name__] += 1
            action()
            self.supervise()

    def supervise(self) -> None:
        """A worker without a lease ends itself where it cannot end its body, for somebody to start it again."""
        for name in [name for name in self._street.running if self._street.ended(name)]:
            self.log["ended by itself"] += 1
            (self._street.worker if name in WORKERS else self._street.start)(name)

    def kill_worker(self) -> None:
        name = self._choose.choice(WORKERS)
        self._street.kill(name)
        self._street.worker(name)

    def kill_consumer(self) -> None:
        self._restart(self._choose.choice(CONSUMERS))

    def kill_dispatcher(self) -> None:
        self._restart("dispatcher")

    def _restart(self, name: str) -> None:
        self._street.kill(name)
        self._street.start(name)

    def kill_postgres(self) -> None:
        self._postgres.kill()
        self._postgres.start()

    def kill_broker(self) -> None:
        self._valkey.kill()
        self._valkey.start()

    def kill_kafka(self) -> None:
        assert self._kafka is not None
        self._kafka.restart()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def own_broker(stack: ExitStack, log: str) -> KafkaServer | None:
    """A new one, because the topics of the shop have fixed names."""
    if log != "kafka":
        return None
    if lack := KafkaServer.lack():
        missing("Kafka", lack)
    server = KafkaServer(stack.enter_context(scratch()))
    stack.callback(server.stop)
    server.start()
    return server


def started(street: Street) -> None:
    """Every process that the shop has, but for its API."""
    for name in ("dispatcher", *CONSUMERS):
        street.start(name)
    for name in WORKERS:
        street.worker(name)


def unfinished(street: Street) -> list[streets.Json]:
    """Orders that have not come to their end; the inventory alone answers to those of mode `stream`."""
    ends = {"stream": {"RESERVED", "CANCELLED"}}
    return [one for one in street.all("/orders") if one["status"] not in ends.get(one["mode"], ENDS)]


UNFINISHED = {
    "saga": "SELECT to_jsonb(s) FROM trilho.sagas s WHERE finished_at IS NULL",
    "step": """SELECT to_jsonb(t) FROM trilho.saga_steps t JOIN trilho.sagas s ON s.id = t.saga_id
               WHERE s.finished_at IS NULL ORDER BY t.saga_id, t.started_at""",
    "job": """SELECT to_jsonb(j) FROM trilho.jobs j
              WHERE j.finished_at IS NULL OR j.parent_id IN (SELECT id FROM trilho.sagas WHERE finished_at IS NULL)
                 OR j.id IN (SELECT t.job_id FROM trilho.saga_steps t JOIN trilho.sagas s ON s.id = t.saga_id
                             WHERE s.finished_at IS NULL)
              ORDER BY j.created_at""",
    "attempt": """SELECT to_jsonb(a) FROM trilho.job_attempts a WHERE a.job_id IN (
                      SELECT id FROM trilho.jobs WHERE finished_at IS NULL
                      UNION SELECT t.job_id FROM trilho.saga_steps t JOIN trilho.sagas s ON s.id = t.saga_id
                            WHERE s.finished_at IS NULL)""",
    "process": "SELECT to_jsonb(p) - 'tasks' FROM trilho.processes p WHERE state IN ('running', 'stopping')",
    "backend": """SELECT jsonb_build_object('name', application_name, 'pid', pid, 'blocked by', pg_blocking_pids(pid),
                                            'state', state, 'since', xact_start, 'query', query)
                  FROM pg_stat_activity WHERE xact_start < clock_timestamp() - interval '1 second'""",
}


@contextmanager
def telling_of_unfinished(shop: Shop) -> Iterator[None]:
    """Where the block fails: what the tables know of runs that have not ended, and of whoever works on them."""
    try:
        yield
    except AssertionError:
        for what, query in UNFINISHED.items():
            for (row,) in shop.query(query)[:20]:
                tell(f"{what}: {row}")
        raise


def tell(text: str) -> None:
    """Show with the failed test, and at once under `-s`."""
    sys.stdout.write(f"{text}\n")


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.timeout(6 * SECONDS + 2 * ENDING)
def test_whatever_is_killed_every_order_ends_and_money_and_goods_add_up(
    log: str, stack: ExitStack, own_database: str, own_postgres: Postgres, own_valkey: Valkey, tmp_path: Path
) -> None:
    tell(f"seed {SEED} (TRILHO_CHAOS_SEED), {ORDERS} orders, {SECONDS:g} s, log {log}")
    kafka = own_broker(stack, log)
    settings = {"TRILHO_KAFKA_BOOTSTRAP": kafka.url()} if kafka else {}
    # Chance may kill one job's process more often than any sensible limit.
    shop = stack.enter_context(opened(tmp_path, own_database, own_valkey.url(), TRILHO_MAX_CRASHES="100", **settings))
    street = stack.enter_context(streets.opened(shop))
    started(street)
    customers, chaos = Customers(street), Chaos(street, own_postgres, own_valkey, kafka)
    customers.start()
    chaos.run(lambda: not customers.is_alive())
    tell(", ".join(f"{name} {count}" for name, count in sorted(chaos.log.items())))
    assert customers.answered == ORDERS

    with telling_of_unfinished(shop):
        # PostgreSQL may have been killed just now: then the answer is 503.
        eventually(
            lambda: chaos.supervise() or unfinished(street),
            lambda left: not left,
            timeout=ENDING,
            every=0.5,
            ignoring=(AssertionError,),
        )
        eventually(street.check_that_all_adds_up, lambda _: True, timeout=30, every=0.5, ignoring=(AssertionError,))
    orders = street.all("/orders")
    tell(str(Counter((one["mode"], one["status"]) for one in orders)))
    assert {one["mode"] for one in orders} == set(MODES)
    assert {one["status"] for one in orders} == {"COMPLETED", "CANCELLED", "RESERVED"}
    assert shop.query("SELECT count(*) FROM trilho.dead_letters") == [(0,)]
    assert shop.query("SELECT state, count(*) FROM trilho.jobs WHERE finished_at IS NULL GROUP BY state") == []
    assert "deadlock detected" not in own_postgres.log_file.read_text()
