"""What becomes of the jobs of a slice that went wrong; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from trilho.db.pool import LOST
from trilho.errors import ClaimLost
from trilho.jobs import aftermath
from trilho.jobs.aftermath import Verdict
from trilho.jobs.job import Claimed
from trilho.jobs.outcome import Death, Outcome
from trilho.worker.slice import CANCELLED, TIME_LIMIT

PAUSE = 1.0
"""Seconds before what failed for no reason of its own is tried again."""


@dataclass(frozen=True)
class Witness:
    """What the shared memory said when the slice went wrong; `limit` is how many crashes a job may have."""

    ids: tuple[str, ...]
    running: int | None
    taken: int
    limit: int
    hard: float | None = None

    def verdict(self, running: Verdict, ended: Verdict, unbegun: Verdict | None = None) -> Verdict:
        """One verdict for the body that ran, one for those that had ended unwritten, one for the rest."""
        places: Mapping[str, int] = {job_id: index for index, job_id in enumerate(self.ids)}
        rest = unbegun or aftermath.forget()

        def verdict(job: Claimed) -> Outcome:
            place = places[job.id]
            if place >= self.taken:
                return rest(job)
            return running(job) if place == self.running else ended(job)

        return verdict

    def on_ending(self, ending: str, delay: float = 0.0) -> Verdict:
        """This worker itself has ended it."""
        released = aftermath.release(f"its worker ended it: {ending}", delay)
        if ending == CANCELLED:
            return self.verdict(aftermath.revoke(aftermath.CANCELLED), released)
        if ending == TIME_LIMIT:
            return self.verdict(aftermath.time_out(self.hard), released)
        return self.verdict(released, released, aftermath.forget(delay))

    def on_error(self, error: BaseException) -> Verdict:
        """Its process died, or the pool call raised."""
        if isinstance(error, TimeLimitExceeded):
            timed_out = aftermath.time_out(error.args[0] if error.args else None)
            reason = "the time limit passed while its end was being written"
            return self.verdict(timed_out, aftermath.release(reason, PAUSE))
        if isinstance(error, (ClaimLost, *LOST)):
            released = aftermath.release(f"the slice failed: {error!r}", PAUSE)
            return self.verdict(released, released, aftermath.forget(PAUSE))
        if isinstance(error, (WorkerLostError, SystemExit)):
            crashed = aftermath.crash(Death(f"{error}"), self.limit, lambda job: True)
            return self.verdict(crashed, aftermath.crash(Death(f"{error}"), self.limit, lambda job: False))
        return self._on_failure(Death(f"the slice failed: {error!r}"))

    def _on_failure(self, death: Death) -> Verdict:
        """The process lives, the slice does not: counted, so that what can never be written comes to an end."""
        crashed = aftermath.crash(death, self.limit, lambda job: True)
        if len(self.ids) == 1:
            return crashed
        alone = aftermath.suspect(death, PAUSE)
        return self.verdict(crashed, alone, alone if self.running is None else None)
