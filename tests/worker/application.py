"""What `celery -A tests.worker.application worker` loads; tests build the same with given settings."""

import asyncio
import os
import threading
import time
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from tests.lab.ready import announce
from trilho import Task, Trilho, Tx

Bound = Task[..., Any]


def echo(self: Bound, value: Any, seconds: float = 0.0) -> Any:
    time.sleep(seconds)
    return value


def pid(self: Bound) -> int:
    return os.getpid()


def waits(self: Bound, job_id: str) -> Any:
    return self.app.AsyncResult(job_id).get(timeout=5)


def hangs(self: Bound) -> None:
    time.sleep(60)


def polite(self: Bound) -> str:
    """Cleans up when its soft time limit is over."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


def steps(self: Bound, count: int, seconds: float) -> None:
    """Report many steps at once, then go on without a word."""
    for number in range(1, count + 1):
        self.app.progress(number, count)
    time.sleep(seconds)


def flaky(self: Bound, failures: int) -> int:
    if self.request.retries < failures:
        raise self.retry(countdown=0.2, exc=ValueError("not yet"))
    return int(self.request.retries)


def unpicklable(self: Bound) -> None:
    class Local(Exception):
        """Pickle cannot find it."""

    raise Local(lambda: None)


def fails(self: Bound) -> None:
    raise ValueError("on purpose")


def steady(self: Bound, seconds: float) -> str:
    """Takes its time in Python, where a thread can be interrupted, and cleans up."""
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
    finally:
        self.app.progress(1, 1, "cleaned up")
    return "done"


def records(self: Bound, name: str, *, tx: Tx) -> str:
    tx.connection.execute("INSERT INTO effects VALUES (%s)", (name,))
    if name.startswith("bad"):
        raise ValueError(name)
    return name


async def awaits(self: Bound, value: Any, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    return value


async def where(self: Bound) -> list[int]:
    """Which process, thread and event loop runs this."""
    await asyncio.sleep(0.05)
    return [os.getpid(), threading.get_ident(), id(asyncio.get_running_loop())]


async def polite_coroutine(self: Bound) -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "cleaned up"
    return "never"


async def impolite_coroutine(self: Bound) -> None:
    """Waits without awaiting."""
    time.sleep(60)


async def awaits_in_transaction(self: Bound, name: str, *, tx: Tx) -> str:
    tx.connection.execute("INSERT INTO effects VALUES (%s)", (name,))
    await self.app.tasks["test.awaits"].adelay(name)
    await asyncio.sleep(0)
    return name


def forgets(self: Bound) -> Any:
    return awaits(self, 1)


BODIES = (echo, pid, waits, hangs, polite, steps, flaky, unpicklable, fails, steady, awaits, where, forgets)
COROUTINES = (polite_coroutine, impolite_coroutine)
TRANSACTIONAL = (records, awaits_in_transaction)


def build(**options: Any) -> Trilho:
    """An application with every task, named `test.<function>`."""
    app = Trilho("test", **options)
    for body in (*BODIES, *COROUTINES):
        app.task(name=f"test.{body.__name__}", bind=True, shared=False)(body)
    for transactional in TRANSACTIONAL:
        app.task(name=f"test.{transactional.__name__}", bind=True, shared=False, transactional=True)(transactional)
    return app


announce()
app = build()
