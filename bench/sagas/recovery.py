"""A thousand sagas are running, all workers are killed, a new one is started: how long until all are done?"""

import time
from collections.abc import Mapping

import psycopg

from bench.child import ask
from bench.sagas.worker import worker

SAGAS = 1000
PATIENCE = 300.0
DONE = "SELECT count(*) FROM trilho.sagas WHERE state = 'COMPLETED'"


def measure(environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds without a kill, and with one when a quarter was done: until the first is done, until all are."""
    undisturbed = _begun(environment)
    with worker(environment, "calm") as calm:
        calm.answer()
        begun = time.monotonic()
        without = _wait(environment, undisturbed + SAGAS) - begun
    done = _begun(environment)
    with worker(environment, "killed") as killed:
        killed.answer()
        _wait(environment, done + SAGAS // 4)
        killed.kill()
    left = _count(environment)
    with worker(environment, "new") as new:
        new.answer()
        begun = time.monotonic()
        first = _wait(environment, left + 1) - begun
        every = _wait(environment, done + SAGAS) - begun
    return {"without": without, "left": done + SAGAS - left, "first": first, "all": every}


def _begun(environment: Mapping[str, str]) -> int:
    done = _count(environment)
    ask(["bench.sagas.shop", "start", SAGAS], environment)
    return done


def _wait(environment: Mapping[str, str], count: int) -> float:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if _count(environment) >= count:
            return time.monotonic()
        time.sleep(0.05)
    raise RuntimeError(f"{_count(environment)} sagas of {count} were done within {PATIENCE:.0f} s")


def _count(environment: Mapping[str, str]) -> int:
    with psycopg.connect(environment["TRILHO_DATABASE_URL"], autocommit=True) as connection:
        row = connection.execute(DONE).fetchone()
    return int(row[0]) if row else 0
