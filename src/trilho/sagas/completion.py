"""How a run completes: with the end of its job, together with the other runs of a slice where that needs no look."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trilho.db.pool import Connection
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.job import SUCCESS, NewJob
from trilho.jobs.outcome import Finish
from trilho.sagas import store
from trilho.sagas.journal import Journal
from trilho.sagas.record import Entry, Run


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


def complete_together(connection: Connection, attempts: Sequence[RunningAttempt]) -> set[str]:
    """End plain stretches, their jobs and their runs in one statement and commit; the jobs for which that was done.

    What is left of them has to be ended one by one: the claim is lost, or somebody has asked for the end of the run.
    """
    plain = {attempt.job.id: found for attempt in attempts if (found := _plain(attempt)) is not None}
    if not plain:
        return set()
    steps: list[tuple[str, Entry]] = []
    for completion, entries in plain.values():
        completion.journal.app.database.faults.hit("saga.end_before_commit")
        steps += [(completion.journal.run.id, entry) for entry in entries]
    return store.complete(connection, [(c.journal.claim, c.journal.run.id, c.text) for c, _ in plain.values()], steps)


NOTHING = "null"
"""What a stretch returns: JSON."""


def _plain(attempt: RunningAttempt) -> tuple[Completion, list[Entry]] | None:
    """The end of a stretch on which nothing else hangs."""
    match attempt.riders:
        case [Completion() as completion] if attempt.outcome == Finish(attempt.job.id, attempt.token, SUCCESS, NOTHING):
            entries = completion.journal.fresh
        case _:
            return None
    hangs = attempt.new_jobs or attempt.others or attempt.parts or attempt.grown or completion.journal.run.called
    return None if hangs or entries is None else (completion, entries)
