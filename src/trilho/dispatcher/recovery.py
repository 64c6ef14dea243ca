"""Recovery: what a dead process left behind runs again. Never depends on a job, and may itself die at any point."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilho.db.pool import Connection
from trilho.jobs.aftermath import crash, settle_dead
from trilho.jobs.outcome import Death
from trilho.log import get_logger
from trilho.processes.store import dead_with_jobs, declare_lost

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.recovery")

BATCH = 100


@dataclass
class Recover:
    """Declares processes lost whose lease ran out, then settles the jobs of all that are not alive.

    The two halves need nothing of each other but rows, so whoever comes next continues where this one died.
    """

    app: "Trilho"

    def __call__(self, connection: Connection) -> int:
        """Look once; returns how many jobs were settled."""
        for incarnation, name in declare_lost(connection):
            log.warning("process.lost", name=name, incarnation=str(incarnation))
        settled = 0
        settings = self.app.settings
        verdict = crash(Death("its lease ran out", presumed=True), settings.max_crashes, lambda job: True)
        for worker in dead_with_jobs(connection, settings.lease):
            while count := settle_dead(self.app, connection, [worker], verdict, BATCH):
                settled += count
        if settled:
            log.warning("jobs.recovered", count=settled)
        return settled
