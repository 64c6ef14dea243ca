"""What a pool process does beside its bodies: it leads a process group, watches the lease and writes late progress."""

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import SIG_SOFT_TIMEOUT
from billiard.process import current_process
from celery import current_app

from trilho.jobs import runner
from trilho.jobs.runner import SliceOrder
from trilho.jobs.tally import SLICE, SliceReport
from trilho.log import get_logger
from trilho.processes.shared import boot_time
from trilho.worker.guardian import Guardian

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.child")

LOOK = 0.1

ENDED = "trilho_ended"
"""The kind of message with which a pool process tells, before its slice is over, what has ended and is written."""


def begin(app: "Trilho", guardian: Guardian) -> None:
    """Set up a pool process right after its fork."""
    os.setpgid(0, 0)
    if not guardian.watch_over_me():
        log.error(
            "guardian.gone", pid=os.getpid(), hint="restart the worker: programs that bodies start would outlive it"
        )
    app.runner.tell = _tell
    for task in (_watch, _flush):
        threading.Thread(target=task, args=(app,), name="trilho-child", daemon=True).start()


def work(order: SliceOrder) -> SliceReport:
    """Entry of a pool call."""
    if SIG_SOFT_TIMEOUT is not None:  # not in `begin`: the pool puts its own handler in place after it
        signal.signal(SIG_SOFT_TIMEOUT, _on_soft_limit)
    return runner.work(order)


def _on_soft_limit(signum: int, frame: Any) -> None:
    """Only a body may be interrupted: a claim or a finish has to come to its end."""
    current_app._get_current_object().runner.body.interrupt_here(SoftTimeLimitExceeded)


def _tell(token: UUID, report: SliceReport) -> None:
    """On the pipe of the pool's own results: the slice is not over before this is, so the two never mix."""
    current_process().outq.put((ENDED, (token, report)))


def _flush(app: "Trilho") -> None:
    """Write what waits while a body runs; apart from the watch, which must wait for nobody."""
    while True:
        app.runner.working.wait()
        time.sleep(SLICE)
        for write in (app.runner.write_behind, app.runner.progress.flush):
            try:
                write()
            except Exception:  # what has ended is written when the slice is over; progress is for eyes
                log.exception("not_written")


def _watch(app: "Trilho") -> None:
    """End this process when the lease is over under a body: a hung parent must not keep it alive past it."""
    mine, shared, parent = app.runner, app.shared, os.getppid()
    while os.getppid() == parent:
        time.sleep(LOOK)
        if mine.working.is_set() and boot_time() >= shared.deadline:
            log.error("lease.over", pid=os.getpid())
            break
    os.killpg(os.getpid(), signal.SIGKILL)
