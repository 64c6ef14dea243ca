"""How a run completes: with the end of its job, together with the other runs of a slice where that needs no look."""

from dataclasses import dataclass
from typing import Any

from trilho.db.pool import Connection
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.job import SUCCESS, NewJob
from trilho.jobs.outcome import Finish
from trilho.sagas import store
from trilho.sagas.journal import Journal
from trilho.sagas.record import Run
from trilho.sagas.store import Ended


@dataclass(frozen=True)
class Completion:
    """Rides on the end of a stretch whose function has returned `text`, its value as JSON."""

    journal: Journal
    text: str

    def __call__(self, connection: Connection) -> list[NewJob]:
        """Complete the run, or let it go on where somebody was told that it is cancelled; the jobs that this brings."""
        run, journal = self.journal.run, self.journal
        journal.app.database.faults.hit("saga.end_before_commit")
        journal.write(connection, ending=True)
        if store.changed(connection, "complete", saga=run.id, job=journal.claim.job_id, result=self.text):
            return tell_caller(connection, run)
        again: dict[str, Any] = {"seen": run.wakes, "wake_at": None, "again": True}
        return store.jobs(connection, "suspend", saga=run.id, job=journal.claim.job_id, **again)


def tell_caller(connection: Connection, run: Run) -> list[NewJob]:
    """After the end of a run: wake that of the saga that called it."""
    return store.jobs(connection, "end_call", id=run.id) if run.called else []


def plain_end(attempt: RunningAttempt) -> Ended | None:
    """The end of a stretch that completes its run, and on which nothing else hangs."""
    match attempt.riders:
        case [Completion(journal, text)] if attempt.outcome == Finish(attempt.job.id, attempt.token, SUCCESS, NOTHING):
            page = journal.fresh
        case _:
            return None
    hangs = attempt.new_jobs or attempt.others or attempt.parts or attempt.grown or journal.run.called
    return None if hangs or page is None else Ended(page, text)


NOTHING = "null"
"""What a stretch returns: JSON."""
