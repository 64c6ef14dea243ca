"""An application whose signals and hooks are written down: what `celery -A tests.worker.watched` loads."""

import os
import time
from pathlib import Path
from typing import Any

from celery import signals

from tests.lab.ready import announce
from trilho import Task, Trilho

LOG = "TRILHO_LAB_SIGNALS"
"""Variable with the file that every process of the application appends to."""

WATCHED = (
    "before_task_publish", "after_task_publish", "task_received", "task_prerun", "task_postrun", "task_success",
    "task_retry", "task_failure", "task_revoked", "task_unknown", "task_rejected", "worker_init", "worker_ready",
    "worker_process_init", "worker_process_shutdown", "worker_shutting_down", "worker_shutdown", "celeryd_after_setup",
)  # fmt: skip


def note(word: str) -> None:
    """One line: the process and what it saw."""
    if path := os.environ.get(LOG):
        with Path(path).open("a") as log:
            log.write(f"{os.getpid()} {word}\n")


def _watch(name: str) -> None:
    def seen(sender: Any = None, request: Any = None, **_: Any) -> None:
        about = request if name == "task_received" else sender
        note(f"{name} {getattr(about, 'name', '')}".strip())

    getattr(signals, name).connect(seen, weak=False)


class Hooked(Task[..., Any]):
    """A task with every hook of Celery's."""

    abstract = True

    def before_start(self, *_: Any) -> None:
        note(f"before_start {self.name}")

    def on_success(self, *_: Any) -> None:
        note(f"on_success {self.name}")

    def on_failure(self, exc: Any, *_: Any) -> None:
        note(f"on_failure {self.name} {type(exc).__name__}")

    def on_retry(self, *_: Any) -> None:
        note(f"on_retry {self.name}")

    def after_return(self, status: Any, *_: Any) -> None:
        note(f"after_return {self.name} {status}")


def echo(self: Hooked, value: Any = None, seconds: float = 0.0) -> Any:
    time.sleep(seconds)
    return value


def again(self: Hooked, times: int = 1, wait: float = 0.0) -> int:
    if self.request.retries < times:
        raise self.retry(countdown=wait, exc=ValueError("not yet"))
    return int(self.request.retries)


def fails(self: Hooked) -> None:
    raise ValueError("on purpose")


def dies(self: Hooked) -> None:
    os._exit(7)


def pid(self: Hooked) -> int:
    return os.getpid()


def add(x: int, y: int) -> int:
    return x + y


def build(**options: Any) -> Trilho:
    """An application with every task, named `watched.<function>`."""
    app = Trilho("watched", **options)
    for body in (echo, again, fails, dies, pid):
        app.task(name=f"watched.{body.__name__}", bind=True, base=Hooked, shared=False)(body)
    app.task(name="watched.add", shared=False)(add)
    return app


if LOG in os.environ:
    for each in WATCHED:
        _watch(each)
announce()
app = build()
