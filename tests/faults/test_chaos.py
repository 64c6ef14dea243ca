"""For half a minute (`TRILHO_CHAOS_SECONDS`) something breaks every few seconds; then everything must add up."""

import os
import random
import sys
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
import redis
from sqlalchemy.exc import DBAPIError

from tests.faults.conftest import MakeLab
from tests.lab.lab import LEASE, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.worker import Worker
from trilho.embedded import Postgres, Valkey

SECONDS = float(os.environ.get("TRILHO_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("TRILHO_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
JOBS = round(5000 * SECONDS / 60)
WORKERS = ("w1", "w2", "w3")
ENDING = 120.0


class Producer(threading.Thread):
    """Enqueues every job under its own id, and asks again until it has an answer."""

    def __init__(self, lab: Lab, keys: list[str]) -> None:
        super().__init__(name="producer")
        self._lab = lab
        self._keys = keys

    def run(self) -> None:
        chance = random.Random(SEED)
        begun = time.monotonic()
        for number, key in enumerate(self._keys):
            pause = begun + 0.9 * SECONDS * number / len(self._keys) - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self._enqueue(key, chance.uniform(0.0, 0.04))

    def _enqueue(self, key: str, seconds: float) -> None:
        while True:
            try:
                self._lab.send("record", key, seconds, task_id=key)
                return
            except (psycopg.Error, DBAPIError):
                time.sleep(0.1)


class Chaos:
    """What can happen, each of it a method."""

    def __init__(self, lab: Lab, postgres: Postgres, valkey: Valkey) -> None:
        self._lab = lab
        self._postgres = postgres
        self._valkey = valkey
        self._chance = random.Random(SEED)
        self.log: list[str] = []
        self._bag: list[Callable[[], None]] = []
        self._actions: list[Callable[[], None]] = [
            self.kill_worker,
            self.kill_child,
            self.freeze_worker,
            self.flush_broker,
            self.restart_broker,
            self.restart_postgres,
        ]

    def run(self) -> None:
        """One thing every two to four seconds."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(2, 4))
            action = self._next()
            self.log.append(action.__name__)
            action()
            self.replace_the_dead()

    def _next(self) -> Callable[[], None]:
        """Each of them once, in random order, then again."""
        if not self._bag:
            self._bag = self._chance.sample(self._actions, len(self._actions))
        return self._bag.pop()

    def any_worker(self) -> Worker:
        return self._lab.workers[self._chance.choice(WORKERS)]

    def replace_the_dead(self) -> None:
        """As a supervisor does."""
        for name in WORKERS:
            if not self._lab.workers[name].alive:
                self._lab.worker(name, wait=False)

    def kill_worker(self) -> None:
        self.any_worker().kill()

    def kill_child(self) -> None:
        worker = self.any_worker()
        for child in worker.pool()[:1]:
            child.kill()

    def freeze_worker(self) -> None:
        worker = self.any_worker()
        worker.freeze()
        time.sleep(1.5 * LEASE)
        worker.thaw()

    def flush_broker(self) -> None:
        with redis.Redis.from_url(self._valkey.url()) as client:
            client.flushall()

    def restart_broker(self) -> None:
        self._valkey.kill()
        self._valkey.start()

    def restart_postgres(self) -> None:
        self._postgres.stop("immediate")
        self._postgres.start()


def tell(text: str) -> None:
    """Show with the failed test, and at once under `-s`."""
    sys.stdout.write(f"{text}\n")


@pytest.mark.timeout(SECONDS + ENDING + 90)
def test_whatever_happens_every_job_succeeds_and_every_effect_exists_once(
    make_lab: MakeLab, own_database: str, own_postgres: Postgres, own_valkey: Valkey
) -> None:
    tell(f"seed {SEED} (TRILHO_CHAOS_SEED), {JOBS} jobs, {SECONDS:g} s")
    lab = make_lab(database=own_database, broker=own_valkey.url())
    # Chance may kill one job's process more often than any sensible limit.
    lab.settings["TRILHO_MAX_CRASHES"] = "100"
    for name in WORKERS:
        lab.worker(name, wait=False)
    keys = [f"job-{number}" for number in range(JOBS)]
    producer = Producer(lab, keys)
    producer.start()
    chaos = Chaos(lab, own_postgres, own_valkey)
    chaos.run()
    producer.join()
    tell(", ".join(chaos.log))
    lab.all_succeed(JOBS, timeout=ENDING)
    assert account(keys, lab.effects()) == EXACT
    assert "deadlock detected" not in own_postgres.log_file.read_text()
