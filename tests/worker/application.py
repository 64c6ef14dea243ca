"""What `celery -A tests.worker.application worker` loads; tests build the same with given settings."""

import os
import time
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from tests.lab.ready import announce
from trilho import Task, Trilho

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


BODIES = (echo, pid, waits, hangs, polite, steps, flaky, unpicklable)


def build(**options: Any) -> Trilho:
    """An application with every task, named `test.<function>`."""
    app = Trilho("test", **options)
    for body in BODIES:
        app.task(name=f"test.{body.__name__}", bind=True, shared=False)(body)
    return app


announce()
app = build()
