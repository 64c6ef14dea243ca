"""The prefork pool: each process leads a process group of its own, so that a body ends with all it has started."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery import signals

from trilho.worker import child
from trilho.worker.guardian import Guardian
from trilho.worker.slice import Slice

if TYPE_CHECKING:
    from trilho.worker.consumer import JobConsumer

LOOK_FOR_THE_DEAD = 0.2


class Processes:
    """Must be made before the pool forks."""

    name = "prefork"
    one_by_one = False

    def __init__(self, consumer: "JobConsumer") -> None:
        self._consumer = consumer
        # A process is replaced after so many pool calls, which are to be as many jobs.
        self.shares = bool(consumer.hub) and not consumer.pool.options.get("maxtasksperchild")
        app = consumer.app
        guardian = self._guardian = Guardian()
        self._on_child = lambda **_: child.begin(app, guardian)
        signals.worker_process_init.connect(self._on_child)

    def begin(self) -> None:
        """Look for dead processes often, and see to it that a pool that shrinks ends processes that can be ended."""
        pool = self._consumer.pool._pool
        pool._iterinactive = lambda: endable(pool)
        pool._result_handler.state_handlers[child.ENDED] = self._consumer.batcher.partly_done
        if self._consumer.hub:
            # The pool hears of a death through a pipe that closes a moment before the process can be reaped; when it
            # loses that race, it looks again only after five seconds.
            self._consumer.timer.call_repeatedly(LOOK_FOR_THE_DEAD, self._consumer.pool.maintain_pool)

    def run(self, under_way: Slice) -> None:
        """Give a slice to a free process."""
        batcher = self._consumer.batcher
        self._consumer.pool.apply_async(
            child.work,
            (under_way.order,),
            accept_callback=lambda pid, when: batcher.accepted(under_way, pid, when),
            timeout_callback=lambda soft, timeout: batcher.timed_out(under_way, soft, timeout),
            callback=lambda report: batcher.done(under_way, report),
            error_callback=lambda info: batcher.broken(under_way, info.exception),
            soft_timeout=under_way.soft,
            timeout=under_way.hard,
            correlation_id=str(under_way.order.token),  # not a job's: the pool would drop a slice for a revoked one
        )

    def end(self, under_way: Slice) -> None:
        """End the process that runs a slice."""
        for process in list(self._consumer.pool._pool._pool):
            if process.pid == under_way.pid:
                process._controlled_termination = True  # or billiard takes its end for an error
        end_group(under_way.pid)

    def bury(self, under_way: Slice) -> None:
        """End what the bodies of a dead process had started."""
        end_group(under_way.pid)

    def is_busy(self) -> bool:
        """Whether a slice is under way."""
        return bool(self._consumer.batcher.slices)

    def fence(self, under_way: list[Slice], seconds: float) -> None:
        """Nothing: a process that was killed runs no body, and each watches the lease itself."""

    def abandon(self) -> None:
        """Nothing: nobody survives SIGKILL."""

    def leave(self) -> None:
        """Dismiss the guardian."""
        self._guardian.dismiss()


def endable(pool: Any) -> Iterator[Any]:
    """The processes that a shrinking pool may end: idle, and neither on their way out nor still starting.

    Celery's pool would count one that has been ended already, and SIGTERM is lost on one without its signal handlers.
    """
    for process in list(pool._pool):
        leaving = getattr(process, "_controlled_termination", False)
        if not leaving and process not in pool._waiting_to_start and not pool._worker_active(process):
            yield process


def end_group(pid: int | None) -> None:
    """End a pool process and everything that its bodies started: it leads a process group of its own."""
    if not pid or pid == os.getpid():
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
