"""The pools `threads` and `solo`: bodies run in this process, where they can be interrupted but not killed.

An exception is raised in a body that has to end. One that is stuck in a call outside of Python does not notice: where
it must not go on (the lease, a hard time limit, SIGTERM), this process ends itself, and the jobs are given back.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.concurrency import solo
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate

from trilho.errors import Interrupted
from trilho.jobs.body import WAKE
from trilho.jobs.runner import Runner
from trilho.jobs.tally import SliceReport
from trilho.log import get_logger
from trilho.worker.slice import LEASE, SHUTDOWN, TIME_LIMIT, Slice

if TYPE_CHECKING:
    from trilho.worker.consumer import JobConsumer

log = get_logger("trilho.worker")

LOOK = 0.1
PATIENCE = 5.0
"""Seconds that an interrupted body has for its cleaning up."""
SPARE_CONNECTIONS = 10


@dataclass
class Running:
    """A slice that a thread works on."""

    under_way: Slice
    runner: Runner
    asked_at: float | None = None

    def wanted(self, now: float) -> type[BaseException] | None:
        """What is to be raised in its body now, if anything."""
        slice_, begun = self.under_way, self.runner.body.begun
        if slice_.ending is not None:
            return Interrupted
        if begun is None:  # claiming, or writing the end: that is not the body's time
            return None
        if slice_.hard is not None and now >= begun + slice_.hard:
            return Interrupted
        return SoftTimeLimitExceeded if slice_.soft is not None and now >= begun + slice_.soft else None

    def interrupt(self) -> None:
        """Raise what is wanted; a body that has not begun yet is asked at the next look."""
        now = time.monotonic()
        error = self.wanted(now)
        if error is not None and self.runner.interrupt(self.under_way.order.token, error) and error is Interrupted:
            self.under_way.ending = self.under_way.ending or TIME_LIMIT
            self.asked_at = self.asked_at or now


class Threads:
    """A runner for each thread; what they report is told to the batcher in its event loop."""

    shares = False

    def __init__(self, consumer: "JobConsumer") -> None:
        self._consumer = consumer
        self.one_by_one = isinstance(consumer.pool, solo.TaskPool)
        self.name = "solo" if self.one_by_one else "threads"
        self._local = threading.local()
        self._runners: list[Runner] = []
        self._running: dict[UUID, Running] = {}

    def begin(self) -> None:
        """Watch the bodies from now on."""
        self._consumer.app.database.make_room(self._consumer.pool.limit + SPARE_CONNECTIONS)
        signal.signal(WAKE, _wake)
        for task in (self._watch, self._flush):
            threading.Thread(target=task, name="trilho-bodies", daemon=True).start()

    # ---- running slices

    def run(self, under_way: Slice) -> None:
        """Give a slice to a free thread; solo, run it here and now."""
        self._consumer.batcher.accepted(under_way, os.getpid(), time.monotonic())
        self._consumer.pool.apply_async(self._work, (under_way,), callback=_nothing)

    def _work(self, under_way: Slice) -> None:
        running = Running(under_way, self._runner())
        self._running[under_way.order.token] = running
        told: Callable[[], None]
        try:
            report: SliceReport = running.runner.work(under_way.order)
            told = partial(self._consumer.batcher.done, under_way, report)
        except (WorkerShutdown, WorkerTerminate):  # solo: a signal handler of Celery's raised it in the body
            raise
        except BaseException as error:  # also what would end a process of its own; Celery would swallow it here
            told = partial(self._consumer.batcher.broken, under_way, error)
        finally:
            del self._running[under_way.order.token]
        self._tell(told)

    def _runner(self) -> Runner:
        runner: Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            runner = self._local.runner = Runner(self._consumer.app, self._consumer.app.shared)
            self._runners.append(runner)
        return runner

    def _tell(self, told: Callable[[], None]) -> None:
        if self.one_by_one:
            told()
        else:
            self._consumer.call_soon(told)

    # ---- ending bodies

    def end(self, under_way: Slice) -> None:
        """Interrupt the body of a slice."""
        if (running := self._running.get(under_way.order.token)) is not None:
            running.interrupt()

    def bury(self, under_way: Slice) -> None:
        """Nothing: no process has died."""

    def is_busy(self) -> bool:
        """Whether a thread works on a slice."""
        return bool(self._running)

    def fence(self, under_way: list[Slice], seconds: float) -> None:
        """Wait so long for these slices, then end this process."""
        tokens, until = {each.order.token for each in under_way}, time.monotonic() + seconds
        while tokens & set(self._running):
            if time.monotonic() >= until:
                self._exit(LEASE)
            time.sleep(0.01)

    def abandon(self) -> None:
        """SIGTERM, and its grace is over: give the jobs back and end this process."""
        self._give_up(SHUTDOWN)

    def leave(self) -> None:
        """Nothing is left to do."""

    def _give_up(self, because: str) -> None:
        self._consumer.settle_abandoned()
        self._exit(because)

    def _exit(self, because: str) -> None:
        jobs = [job_id for running in list(self._running.values()) for job_id in running.under_way.order.ids]
        log.error("process.ends_itself", because=because, jobs=jobs)
        end_descendants(os.getpid())
        os._exit(0 if because == SHUTDOWN else 1)

    # ---- watching

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK)
            for running in list(self._running.values()):
                running.interrupt()
                self._look_after(running)

    def _look_after(self, running: Running) -> None:
        """A body that has not ended although it was asked to."""
        if running.asked_at is None or time.monotonic() < running.asked_at + PATIENCE:
            return
        if running.under_way.ending == TIME_LIMIT:
            self._give_up(TIME_LIMIT)
        running.asked_at = time.monotonic()
        log.warning("body.goes_on", jobs=list(running.under_way.order.ids), asked_because=running.under_way.ending)

    def _flush(self) -> None:
        """Write the reports that the throttle held back; apart from the watch, which must wait for nobody."""
        while True:
            time.sleep(LOOK)
            for runner in list(self._runners):
                try:
                    runner.progress.flush()
                except Exception:  # progress is for eyes
                    log.exception("progress.not_written")


def end_descendants(pid: int) -> None:
    """End every process that descends from this one, as far as the system tells."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                end_descendants(int(child))
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(int(child), signal.SIGKILL)


def _wake(*_: Any) -> None:
    """A signal that has a handler ends a system call; the exception waits in the thread already."""


def _nothing(*_: Any) -> None:
    """Celery's callback; what is to be told has been told."""
