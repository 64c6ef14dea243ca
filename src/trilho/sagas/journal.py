"""What a run has recorded, and what it is about to: written with the next commit that something depends on."""

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trilho.db.pool import LOST, Connection
from trilho.db.transaction import Tx
from trilho.errors import DuplicateSaga, SagaLimit
from trilho.jobs.job import NewJob
from trilho.sagas import store
from trilho.sagas.failure import dumped, recorded
from trilho.sagas.record import FAILED, UNDO, Claim, Entry, Failure, Mail, Run
from trilho.sagas.shape import Shape
from trilho.sagas.start import NewSaga
from trilho.sagas.store import Page
from trilho.trace import Trace

if TYPE_CHECKING:
    from trilho.app import Trilho

MOST_ENTRIES = 10_000
MOST_BYTES = 50_000_000
WARN_AT = 0.8


EARLY = timedelta(seconds=1)
"""The clocks of those who start runs and of those who publish differ by less."""


class Abandoned(BaseException):
    """This stretch cannot go on, for a reason that lies in no code of the user: the run goes on in another one."""


@dataclass
class Journal:
    """The entries of one run in one stretch."""

    app: "Trilho"
    run: Run
    claim: Claim
    crashes: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    signals: list[Mail] = field(default_factory=list)
    jobs: list[NewJob] = field(default_factory=list)
    size: int = 0
    cancelled: bool = False
    full: SagaLimit | None = None  # what told the function that nothing more can be recorded
    values: dict[str, Any] = field(default_factory=dict)  # results of this stretch's bodies that nobody has got yet
    unused_tx: Tx | None = None
    in_body: str | None = None  # the idempotency key of the function that runs
    _new: dict[str, Entry] = field(default_factory=dict)
    _stored: set[str] = field(default_factory=set)
    _decided: bool = False
    _begun: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, app: "Trilho", run: Run, claim: Claim, crashes: int) -> "Journal":
        """The journal as it is in the database."""
        journal = cls(app, run, claim, crashes)
        if run.recorded:
            journal.read()
        if run.has_mail:
            journal.signals = app.database.run(store.signals, run.id)
        return journal

    def read(self) -> None:
        """Take over what the database has, with the times of its clock."""
        found = self.app.database.run(store.entries, self.run.id)
        self.entries = {entry.path: entry for entry in found}
        self._stored = set(self.entries)
        self.size = sum(map(_size, found))

    def now(self) -> datetime:
        """The time of the database's clock."""
        return self.run.now + timedelta(seconds=time.monotonic() - self._begun)

    @property
    def since(self) -> datetime:
        """Events of before are none of this run's."""
        return self.run.listens_from - EARLY

    @cached_property
    def trace(self) -> Trace:
        """What the jobs and events of its bodies belong to."""
        return Trace(self.run.correlation_id, self.claim.job_id)

    def value(self, entry: Entry, shape: Shape) -> Any:
        """The result of a step, as the record gives it."""
        return self.values.pop(entry.path) if entry.path in self.values else shape.result(entry.result)

    def taken(self) -> set[int]:
        """The mail that this run has taken already."""
        return {entry.mail for entry in self.entries.values() if entry.mail is not None}

    # ---- writing

    def put(self, entry: Entry, *, decided: bool = True) -> None:
        """Record with the next commit; `decided` where another try could decide otherwise. Raises SagaLimit."""
        known = self.entries.get(entry.path)
        if known is None and entry.kind != UNDO:
            self._ensure_room(entry)
        if entry.started_at is None:
            entry = replace(entry, started_at=self.now())
        self.size += _size(entry) - (_size(known) if known is not None else 0)
        self.entries[entry.path] = self._new[entry.path] = entry
        self._decided = self._decided or decided

    def _ensure_room(self, entry: Entry) -> None:
        if len(self.entries) >= MOST_ENTRIES:
            told = f"saga {self.run.id!r} has recorded {MOST_ENTRIES} steps: split it with saga.call()"
        elif self.size + _size(entry) > MOST_BYTES:
            told = f"the record of saga {self.run.id!r} has {MOST_BYTES} bytes: let steps return references"
        else:
            return
        self.full = SagaLimit(told)
        raise self.full

    def settle(self) -> None:
        """Make durable what another try could decide otherwise: a body is about to depend on it."""
        if self._decided or self.jobs:
            self.flush()

    def flush(self) -> bool:
        """Write what waits, in a commit of its own; whether there was anything."""
        if not self._new and not self.jobs:
            return False
        self.app.database.faults.hit("saga.record_before_commit")
        try:
            if self.jobs:
                with self.app.database.connection() as connection, connection.transaction():
                    self.write(connection)
            else:
                self._recorded(self.app.saga_lines.records.do(self._page()))
        except BaseException as error:
            self._stored.update(self._new)  # or not: nobody knows
            if isinstance(error, LOST):
                raise Abandoned(f"PostgreSQL is away: {error}") from error
            raise
        self.app.database.faults.hit("saga.record_after_commit")
        self.written()
        return True

    def write(self, connection: Connection, *, ending: bool = False) -> None:
        """Write what waits, in the caller's transaction; `written` tells that it was committed."""
        if self._new:
            [cancelled] = store.record(connection, [self._page()], ending=ending)
            self._recorded(cancelled)
        if self.jobs:
            sink = self.app.enqueuer.jobs
            connection.execute(sink.statement.encode(), sink.parameters(self.jobs))

    def _page(self) -> Page:
        return Page(self.run.id, self.claim, list(self._new.values()))

    def _recorded(self, cancelled: bool | None) -> None:
        if cancelled is None:
            raise Abandoned("the claim of this stretch is lost, or somebody has settled one of its steps")
        self.cancelled = cancelled

    @property
    def fresh(self) -> Page | None:
        """What waits, if it is nothing but entries that were never written: then there is nothing to look at."""
        return self._page() if not self.jobs and self._stored.isdisjoint(self._new) else None

    def written(self) -> None:
        """It was committed: jobs are sent for, and the run has come further than any crash before."""
        self.app.enqueuer.jobs.committed(self.jobs)
        progressed = bool(self._new)
        self._stored.update(self._new)
        self._new, self.jobs, self._decided = {}, [], False
        if self.crashes and progressed:
            self.crashes = 0
            claim = self.claim
            self.app.database.run(store.changed, "progressed", job=claim.job_id, token=claim.token)

    def begin_child(self, child: NewSaga, entry: Entry) -> None:
        """Begin a run of another saga, in one commit with the record of the call."""
        sink, faults = self.app.sagas.runs, self.app.database.faults
        self.put(entry)
        try:
            with self.app.database.connection() as connection, connection.transaction():
                faults.hit("saga.call_before_commit")
                rows = connection.execute(sink.statement.encode(), sink.parameters([child])).fetchall()
                sink.check([child], rows)
                self.write(connection)
        except LOST as error:
            raise Abandoned(f"PostgreSQL is away: {error}") from error
        except DuplicateSaga as error:
            told = recorded(error)
            self.put(replace(entry, state=FAILED, child_id=None, undo=None, error=told.error, failure=dumped(told)))
            return
        faults.hit("saga.call_after_commit")
        self.written()
        sink.committed([child])

    def condemn(self, verdict: str, error: str, failure: Failure | None) -> None:
        """Decide, for good, that the run is undone."""
        self.flush()
        values: dict[str, Any] = {
            "verdict": verdict,
            "error": error,
            "failure": None if failure is None else dumped(failure),
        }
        values |= {"saga": self.run.id, "job": self.claim.job_id, "token": self.claim.token}
        self.app.database.faults.hit("saga.condemn_before_commit")
        if not self.app.database.run(store.changed, "condemn", **values):
            raise Abandoned("the claim of this stretch is lost")
        self.app.database.faults.hit("saga.condemn_after_commit")


def _size(entry: Entry) -> int:
    return 200 + len(entry.args) + len(entry.result or "") + len(entry.failure or "")
