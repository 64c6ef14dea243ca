"""Writes the ends of attempts, and insists while PostgreSQL is away."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from trilho.db.pool import LOST, Connection, brief_transaction
from trilho.errors import ClaimLost
from trilho.jobs import store
from trilho.jobs.aftermath import settle_cancelled
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.consequences import with_consequences
from trilho.jobs.outcome import Death, Finish, crashed
from trilho.jobs.settlement import conclude, follow_up, is_plain
from trilho.jobs.tally import Ended, SliceReport
from trilho.log import get_logger
from trilho.processes.shared import SharedState

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.writer")

FENCED = "FENCED"
"""The state of a report about an attempt that did not count: its claim was lost."""

T = TypeVar("T")


class Writer:
    """Writes for one thread, on a connection of its own."""

    def __init__(self, app: "Trilho", shared: SharedState) -> None:
        self._app = app
        self._shared = shared
        self._held = app.database.held()

    def insist(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb that may be repeated until PostgreSQL is back; raises ClaimLost when the lease is over."""
        pause = 0.05
        while True:
            try:
                with self._held.connection() as connection:
                    return verb(connection)
            except LOST as error:
                if not self._shared.may_run():
                    raise ClaimLost("PostgreSQL was away for longer than the lease") from error
                log.warning("postgresql.away", error=str(error).strip(), retry_in=pause)
                time.sleep(pause)
                pause = min(1.0, pause * 2)

    def settle(self, ended: Ended) -> SliceReport:
        """Write what ended, and tell what became of it."""
        self._write([attempt for attempt, _ in ended if attempt.outcome is not None and not attempt.committed])
        report = {}
        for attempt, ran in ended:
            if attempt.fenced:
                self._look_after_fenced(attempt)
            report[attempt.job.id] = ran._replace(state=FENCED) if attempt.fenced else ran
        return report

    def _write(self, attempts: Sequence[RunningAttempt]) -> None:
        if not attempts:
            return
        try:
            self.insist(lambda connection: self._write_once(connection, attempts))
        except ClaimLost:
            raise
        except Exception as error:
            if len(attempts) == 1:
                raise
            log.warning("slice.not_written", jobs=[attempt.job.id for attempt in attempts], error=repr(error))
            for attempt in attempts:
                self._write_alone(attempt)

    def _write_alone(self, attempt: RunningAttempt) -> None:
        """One of them cannot be written: it must not take the others with it, and has to come to an end some day."""
        try:
            self.insist(lambda connection: self._write_once(connection, [attempt]))
        except ClaimLost:
            raise
        except Exception as error:
            attempt.forget_what_follows()
            death = Death(f"its end cannot be written: {error!r}")
            outcome = crashed(attempt.job, death, self._app.settings.max_crashes)
            attempt.outcome = outcome
            if isinstance(outcome, Finish):
                attempt.outcome = with_consequences(self._app, attempt, outcome)
            self.insist(lambda connection: self._write_once(connection, [attempt]))

    def _write_once(self, connection: Connection, attempts: Sequence[RunningAttempt]) -> None:
        """Those that nothing hangs on are one statement, and no transaction."""
        completed = self._app.sagas.complete(attempts)
        attempts = [attempt for attempt in attempts if attempt.job.id not in completed]
        plain = [attempt for attempt in attempts if is_plain(attempt)]
        if plain:
            conclude(self._app, connection, plain)
        if len(plain) < len(attempts):
            with brief_transaction(connection, self._app.settings.lease):
                conclusion = conclude(self._app, connection, [each for each in attempts if not is_plain(each)])
            follow_up(self._app, conclusion)
        self._find_written_before(connection, [attempt for attempt in attempts if attempt.fenced])

    def _find_written_before(self, connection: Connection, lost: Sequence[RunningAttempt]) -> None:
        """The answer to an earlier try may have got lost."""
        if not lost:
            return
        mine = store.already_settled(connection, [a.outcome for a in lost if a.outcome is not None])
        for attempt in lost:
            attempt.fenced = attempt.job.id not in mine

    def _look_after_fenced(self, attempt: RunningAttempt) -> None:
        """An end that did not count: somebody cancelled the job in time, or has taken it over."""
        job_id, token = attempt.job.id, attempt.token
        if self.insist(lambda connection: settle_cancelled(self._app, connection, [job_id], token)):
            log.info("job.cancelled", job=job_id, task=attempt.job.task)
        else:
            log.warning("claim.lost", job=job_id, task=attempt.job.task)
