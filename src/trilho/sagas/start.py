"""New runs on their way into the database, in the caller's transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trilho import trace
from trilho.db.pending import ListSink
from trilho.db.pool import Connection
from trilho.errors import DuplicateSaga, SagaStateError, UnknownSaga
from trilho.faults import Faults
from trilho.jobs.job import NewJob
from trilho.jobs.store import rows_json
from trilho.sagas.store import SQL, stretch_of
from trilho.sagas.together import Together

Push = Callable[[Sequence[NewJob]], None]


@dataclass(frozen=True, slots=True)
class NewSaga:
    """A run as it is written; `args` by parameter and `headers` of its first stretch are JSON texts."""

    id: str
    name: str
    version: int
    queue: str
    args: str
    stretch: str
    headers: str
    timeout: float | None
    topics: tuple[str, ...]
    listens_from: datetime
    correlation_id: str
    parent_id: str | None = None
    parent_path: str | None = None
    awaited: bool = False  # its end is to be announced
    send: bool = True  # a wake-up follows the commit; False: the dispatcher sends it
    cause: str | None = None  # for the timeline
    via: str | None = None

    @property
    def job(self) -> NewJob:
        """Its first stretch."""
        return stretch_of(self.id, self.name, self.queue, self.stretch, self.correlation_id)


@dataclass(frozen=True, eq=False)
class SagaSink(ListSink):
    """Writes runs before the commit and sends the wake-ups of their first stretches after it."""

    push: Push
    statement: str = SQL["start"]
    at_once: bool = False
    repeatable: bool = True

    def parameters(self, rows: Sequence[NewSaga]) -> Mapping[str, Any]:
        """All rows as one parameter; raises DuplicateSaga for two different runs with one id."""
        by_id: dict[str, NewSaga] = {}
        for row in rows:
            known = by_id.setdefault(row.id, row)
            if (known.name, known.args) != (row.name, row.args):
                raise DuplicateSaga(row.id)
        return {"rows": rows_json(list(by_id.values()))}

    def check(self, rows: Sequence[NewSaga], returned: Sequence[Sequence[Any]]) -> None:
        """Raise DuplicateSaga for an id that belongs to another run."""
        known = {row[0] for row in returned}
        for row in rows:
            if row.id not in known:
                raise DuplicateSaga(row.id)

    def committed(self, rows: Sequence[NewSaga]) -> None:
        """Send the wake-ups; that of a run which was there before finds no job."""
        trace.had_effect()
        self.push([row.job for row in rows if row.send])


def begin_together(connection: Connection, rows: Sequence[NewSaga]) -> list[bool]:
    """Begin runs of several callers; whether each of them is there now as its caller wants it."""
    begun = {row[0] for row in connection.execute(SQL["start"].encode(), {"rows": rows_json(rows)})}
    return [row.id in begun for row in rows]


def begin_now(faults: Faults, starts: Together[NewSaga, bool], sink: SagaSink, row: NewSaga) -> None:
    """Begin a run durably, maybe in one commit with those of other threads; raises DuplicateSaga."""
    faults.hit("enqueue.before_commit")
    begun = starts.do(row)
    faults.hit("enqueue.after_commit")
    sink.check([row], [(row.id,)] if begun else [])
    sink.committed([row])


@dataclass(slots=True, eq=False)
class NewSignal:
    """A signal on its way to a run; `data` is JSON, `woken` the stretch that it brought about."""

    saga: str
    name: str
    message_id: str
    data: str
    woken: NewJob | None = None


@dataclass(frozen=True, eq=False)
class SignalSink(ListSink):
    """Writes signals; at once, so that the caller hears of a run that takes none."""

    push: Push
    statement: str = SQL["signal"]
    at_once: bool = True
    repeatable: bool = True

    def parameters(self, rows: Sequence[NewSignal]) -> Mapping[str, Any]:
        """All rows as one parameter."""
        return {"rows": rows_json([{name: getattr(row, name) for name in _OF_SIGNAL} for row in rows])}

    def check(self, rows: Sequence[NewSignal], returned: Sequence[Sequence[Any]]) -> None:
        """Raise UnknownSaga or SagaStateError."""
        for row, (*woken, state) in zip(rows, returned, strict=True):
            saga_id = row.saga
            row.woken = stretch_of(*woken) if woken[3] is not None else None
            if state is None:
                raise UnknownSaga(saga_id)
            if state in ("COMPLETED", "COMPENSATED"):
                raise SagaStateError(saga_id, state, "signal")

    def committed(self, rows: Sequence[NewSignal]) -> None:
        """Send the wake-ups of the stretches."""
        trace.had_effect()
        self.push([row.woken for row in rows if row.woken is not None])


_OF_SIGNAL = ("saga", "name", "message_id", "data")
