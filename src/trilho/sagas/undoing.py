"""Compensation: what was begun comes to its end first, then the undos run, the last step's first."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trilho.db.text import escaped
from trilho.jobs import codec
from trilho.sagas import replay, steering
from trilho.sagas.bodies import Body
from trilho.sagas.record import CALL, DONE, ENDED_WELL, FAILED, OPEN, UNDO, UNDO_SUFFIX, Entry
from trilho.sagas.replay import Call
from trilho.sagas.shape import RESULT
from trilho.sagas.stretch import Stretch, Undoing

if TYPE_CHECKING:
    from trilho.app import Trilho


class GaveUp(Exception):
    """An undo failed for good: a person decides."""


@dataclass
class Compensation:
    """The way back of one run, as far as it goes in one stretch."""

    app: "Trilho"
    stretch: Stretch

    async def run(self) -> None:
        """Undo everything; raises Suspended where it has to wait, GaveUp where a person decides."""
        journal = self.stretch.journal
        journal.flush()
        journal.read()
        self._end_what_runs()
        for entry in replay.to_undo(journal.entries.values()):
            if entry.kind == CALL:
                self._call_off(entry)
            else:
                await self._undo(entry)

    def _end_what_runs(self) -> None:
        """Nothing is undone before every attempt is terminal; whatever ends one wakes the run."""
        journal = self.stretch.journal
        waiting = False
        for entry in replay.unsettled(journal.entries.values()):
            if (ended := replay.given_up(entry)) is not None:
                journal.put(ended)
            else:
                self._end(entry)
                waiting = True
        if waiting:
            self.stretch.suspend()
        if journal.flush():
            journal.read()

    def _end(self, entry: Entry) -> None:
        if entry.kind == CALL:
            self._steer(str(entry.child_id))
        else:
            self.app.sagas.end_job(str(entry.job_id))

    def _steer(self, saga_id: str) -> None:
        with self.app.database.connection() as connection, connection.transaction():
            jobs = steering.call_off(connection, saga_id)
        self.app.enqueuer.jobs.committed(jobs)

    def _call_off(self, entry: Entry) -> None:
        """The other run is undone by itself, and wakes this one when it is."""
        journal = self.stretch.journal
        child = self.app.sagas.get(str(entry.child_id)).run()
        path = entry.path + UNDO_SUFFIX
        if journal.entries.get(path) is None:
            journal.put(Entry(path, UNDO, entry.name, OPEN, child_id=child.id))
            journal.flush()
        if journal.entries[path].ended:
            return
        if child.finished and child.verdict is not None:
            journal.put(replace(journal.entries[path], state=DONE))
        else:
            self._steer(child.id)
            self.stretch.suspend()

    async def _undo(self, entry: Entry) -> None:
        known = self.stretch.journal.entries.get(entry.path + UNDO_SUFFIX)
        if known is not None and known.state in ENDED_WELL:
            return
        undoing = self.stretch.undoings.get(entry.path)
        if undoing is None:
            raise self._given_up(
                entry,
                f"the code does not fit the record: step {entry.path} ({entry.name}) has the undo {entry.undo}, "
                "which the code has no longer",
            )
        call = Call(entry.path + UNDO_SUFFIX, UNDO, undoing.body.shape.name)
        new = Entry(call.path, UNDO, call.name, OPEN, args=entry.args)
        try:
            await self.stretch.advance(call, new, body_of(undoing, entry))
        except Exception as error:
            reason = f"the undo {call.name} of step {entry.path} ({entry.name}) failed: {error}"
            raise self._given_up(entry, reason) from error

    def _given_up(self, entry: Entry, reason: str) -> GaveUp:
        """An undo that could not even begin is recorded, too: a person may skip it."""
        journal, path = self.stretch.journal, entry.path + UNDO_SUFFIX
        if path not in journal.entries:
            journal.put(Entry(path, UNDO, str(entry.undo), FAILED, args=entry.args, error=escaped(reason)))
        return GaveUp(reason)


def body_of(undoing: Undoing, entry: Entry) -> Body:
    """What an undo runs: with the step's result, None where its outcome is not known."""
    if not undoing.wants_result:
        return undoing.body
    body = undoing.body
    if body.shape.task is not None:
        return replace(body, kwargs={**body.kwargs, RESULT: codec.loads(entry.result)})
    result = undoing.step.result(entry.result) if entry.result is not None else None
    return replace(body, kwargs={**body.kwargs, RESULT: result})
