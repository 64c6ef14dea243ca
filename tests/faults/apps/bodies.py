"""The bodies of the fault application: each writes down what it does in the independent ledger."""

import ctypes
import os
import signal
import subprocess
import time
from typing import Any

from tests.lab.ledger import Ledger
from trilho import Task, Tx

LEDGER_URL = "TRILHO_LAB_LEDGER"
TICK = 0.05
LONG = 2.0
AGAIN = 0.5
"""Seconds that a long body takes when an earlier attempt of it was interrupted: what is tested has happened by then."""

Bound = Task[..., Any]


def write(task: Bound, key: str, event: str, pid: int | None = None) -> None:
    """Add to the ledger that this attempt of the job did something."""
    ledger().write(key, event, task.request.retries + 1, pid or os.getpid())


_ledgers: dict[str, Ledger] = {}


def ledger() -> Ledger:
    """The ledger named by the environment."""
    url = os.environ[LEDGER_URL]
    return _ledgers.setdefault(url, Ledger(url))


def duration(key: str, seconds: float) -> float:
    """How long this run of a body takes."""
    if seconds >= LONG and len(ledger().entries(key, "began")) > 1:
        return AGAIN
    return seconds


def insert_effect(task: Bound, key: str, tx: Tx) -> None:
    """The effect that must exist exactly once: a row in the transaction of the job."""
    values = (key, task.request.retries + 1, os.getpid())
    tx.connection.execute("INSERT INTO effects (key, attempt, pid) VALUES (%s, %s, %s)", values)


def noop() -> None:
    """Nothing at all."""


def nap(seconds: float) -> None:
    """Nothing but time."""
    time.sleep(seconds)


def alone() -> None:
    """Nothing to give: a worker that knows no better could call it."""
    ledger().write("alone", "done", 1, os.getpid())


def effect(self: Bound, key: str, seconds: float = 0.0) -> str:
    """Take some time, then write to the ledger."""
    write(self, key, "began")
    time.sleep(duration(key, seconds))
    write(self, key, "done")
    return key


def record(self: Bound, key: str, seconds: float = 0.0, *, tx: Tx) -> str:
    """Write an effect in the job's own transaction, early, so that most of the body can lose it."""
    write(self, key, "began")
    insert_effect(self, key, tx)
    time.sleep(duration(key, seconds))
    write(self, key, "done")
    return key


def ticks(self: Bound, key: str, seconds: float) -> None:
    """Show in the ledger for how long this body really ran."""
    write(self, key, "began")
    end = time.monotonic() + duration(key, seconds)
    while time.monotonic() < end:
        write(self, key, "tick")
        time.sleep(TICK)
    write(self, key, "done")


def stuck(self: Bound, key: str, seconds: float) -> None:
    """Wait outside of Python, where no exception reaches a thread."""
    write(self, key, "began")
    if len(ledger().entries(key, "began")) == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})  # it would get the main thread out of the call
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:  # SIGTERM, which has a handler, gets it out once
            ctypes.CDLL(None).sleep(round(left) or 1)
    write(self, key, "done")


def poison(self: Bound, key: str) -> None:
    """End the process that runs it."""
    write(self, key, "began")
    os._exit(9)


def poison_until(self: Bound, key: str, deaths: int) -> None:
    """End the process that runs it, some times."""
    write(self, key, "began")
    if len(ledger().entries(key, "began")) <= deaths:
        os._exit(9)
    write(self, key, "done")


def regicide(self: Bound, key: str, deaths: int) -> None:
    """End the worker, and with it the pool process that runs this, some times."""
    write(self, key, "began")
    if len(ledger().entries(key, "began")) <= deaths:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    write(self, key, "done")


def with_child(self: Bound, key: str, seconds: float) -> None:
    """Start a program and wait for it, as a body that calls ffmpeg does."""
    write(self, key, "began")
    child = subprocess.Popen(["sleep", str(seconds)])
    write(self, key, "child", child.pid)
    child.wait()
    write(self, key, "done")


def flaky(self: Bound, key: str, failures: int, countdown: float = 0.0, *, tx: Tx) -> str:
    """Ask for a retry some times, then write the effect."""
    write(self, key, "began")
    if self.request.retries < failures:
        raise self.retry(countdown=countdown, max_retries=None)
    insert_effect(self, key, tx)
    write(self, key, "done")
    return key


def retry_late(self: Bound, key: str, seconds: float) -> str:
    """Ask for a retry at the end of a long first run; the second run ends a moment later, and well."""
    write(self, key, "began")
    if len(ledger().entries(key, "began")) == 1:
        time.sleep(seconds)
        write(self, key, "late")
        raise self.retry(countdown=0.0, max_retries=None)
    while not ledger().entries(key, "late"):
        time.sleep(TICK)
    time.sleep(1.0)
    write(self, key, "done")
    return key


def link(self: Bound, previous: str, key: str, *, tx: Tx) -> str:
    """A later link of a chain: needs what the one before returned."""
    write(self, key, "began")
    insert_effect(self, key, tx)
    write(self, key, "done")
    return f"{previous}>{key}"


def gather(self: Bound, results: list[str], key: str, *, tx: Tx) -> str:
    """The body of a chord."""
    write(self, key, "began")
    insert_effect(self, key, tx)
    write(self, key, "done")
    return ",".join(sorted(results))


def holding(self: Bound, key: str, row: str, seconds: float, *, tx: Tx) -> None:
    """Hold a row lock for some time, and write the effect under it."""
    write(self, key, "began")
    tx.connection.execute("UPDATE counters SET value = value + 1 WHERE name = %s", (row,))
    write(self, key, "locked")
    time.sleep(duration(key, seconds))
    insert_effect(self, key, tx)
    write(self, key, "done")


def crossing(self: Bound, key: str, first: str, second: str, *, tx: Tx) -> None:
    """Lock two rows in the given order, slowly: two of these in opposite order deadlock."""
    write(self, key, "began")
    tx.connection.execute("UPDATE counters SET value = value + 1 WHERE name = %s", (first,))
    write(self, key, "locked")
    time.sleep(1.0)
    tx.connection.execute("UPDATE counters SET value = value + 1 WHERE name = %s", (second,))
    insert_effect(self, key, tx)
    write(self, key, "done")
