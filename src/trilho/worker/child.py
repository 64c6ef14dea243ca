"""What a pool process does beside its bodies: it leads a process group, watches the lease and writes late progress."""

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import SIG_SOFT_TIMEOUT

from trilho.log import get_logger
from trilho.processes.shared import boot_time
from trilho.worker.guardian import Guardian

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.child")

LOOK = 0.1


def begin(app: "Trilho", guardian: Guardian) -> None:
    """Set up a pool process right after its fork."""
    os.setpgid(0, 0)
    guardian.watch_over_me()
    runner = app.runner

    def on_soft_limit(signum: int, frame: Any) -> None:
        # Only a body may be interrupted: a claim or a finish has to come to its end.
        if runner.in_body:
            raise SoftTimeLimitExceeded()

    if SIG_SOFT_TIMEOUT is not None:
        signal.signal(SIG_SOFT_TIMEOUT, on_soft_limit)
    for task in (_watch, _flush):
        threading.Thread(target=task, args=(app,), name="trilho-child", daemon=True).start()


def _flush(app: "Trilho") -> None:
    """Write the reports that the throttle held back; apart from the watch, which must wait for nobody."""
    while True:
        time.sleep(LOOK)
        try:
            app.runner.progress.flush()
        except Exception:  # progress is for eyes
            log.exception("progress.not_written")


def _watch(app: "Trilho") -> None:
    """End this process when the lease is over under a body: a hung parent must not keep it alive past it."""
    runner, shared, parent = app.runner, app.shared, os.getppid()
    while os.getppid() == parent:
        time.sleep(LOOK)
        if runner.busy and boot_time() >= shared.deadline:
            log.error("lease.over", pid=os.getpid())
            break
    os.killpg(os.getpid(), signal.SIGKILL)
