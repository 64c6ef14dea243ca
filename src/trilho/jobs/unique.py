"""Unique jobs: while a key is held, a second enqueue gets the job that holds it."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from kombu.utils import json as kombu_json

from trilho.db.pending import ListSink
from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.db.text import escaped
from trilho.errors import DuplicateJob
from trilho.jobs import codec
from trilho.jobs.job import NewJob
from trilho.jobs.store import rows_json

SQL = beside(__file__, "unique.sql")
MAX_KEY = 255


@dataclass(frozen=True)
class Unique:
    """One job of a task at a time: with these arguments, or with the same key.

    `key` is a text, the names of the parameters that count, or a function of the call's arguments; without one, all
    arguments count. The key is held until the job is `"started"` or `"finished"`, or for `within` seconds whatever
    becomes of the job. Raises ValueError for other values.
    """

    key: str | tuple[str, ...] | Callable[..., Any] | None = None
    until: Literal["started", "finished"] = "finished"
    within: float | timedelta | None = None

    def __post_init__(self) -> None:
        if self.until not in ("started", "finished"):
            raise ValueError(f'until= is "started" or "finished", not {self.until!r}')
        if self.within is not None and (self.seconds or 0) <= 0:
            raise ValueError(f"within= is a time above zero, not {self.within!r}")
        if self.within is not None and self.until != "finished":
            raise ValueError("within= holds the key for a time, whatever the state: leave out until=")

    @property
    def seconds(self) -> float | None:
        """`within` in seconds."""
        return self.within.total_seconds() if isinstance(self.within, timedelta) else self.within


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one call."""

    text: str
    until: str
    within: float | None


def wanted(option: Any, task: Any) -> Unique | None:
    """What a call asks for with `unique=`, or its task where the call says nothing; raises TypeError."""
    asked = getattr(task, "unique", None) if option is None else option
    if asked is None or isinstance(asked, Unique):
        return asked
    if isinstance(asked, bool):
        return Unique() if asked else None
    raise TypeError(f"unique= takes True, False or trilho.Unique(...), not {asked!r}")


def key_of(unique: Unique, name: str, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Key:
    """The key of a call of the task `name`; raises TypeError for a parameter that the call does not have."""
    return Key(storable(f"{name} {_told(unique.key, name, task, args, kwargs)}"), unique.until, unique.seconds)


def _told(key: Any, name: str, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    if isinstance(key, str):
        return key
    if callable(key):
        told = key(*args, **kwargs)
        return told if isinstance(told, str) else _canonical(told)
    call = arguments(task, args, kwargs)
    if key is None:
        return _canonical(call)
    missing = [parameter for parameter in key if parameter not in call]
    if missing:
        raise TypeError(f"the unique key of {name} needs the argument {missing[0]!r}, which this call does not name")
    return _canonical({parameter: call[parameter] for parameter in key})


def arguments(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, defaults too; positional ones of a task that is not known here by position."""
    body = None if task is None else inspect.getattr_static(type(task), "run").__get__(task)
    try:
        bound = inspect.signature(body).bind(*args, **kwargs) if body is not None else None
    except TypeError:  # the body's own business: it will say so when it runs
        bound = None
    if bound is None:
        return {str(index): value for index, value in enumerate(args)} | dict(kwargs)
    bound.apply_defaults()
    extra = next((p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    named: dict[str, Any] = {name: value for name, value in bound.arguments.items() if name != extra}
    return named if extra is None else named | bound.arguments[extra]


def _canonical(value: Any) -> str:
    text: str = kombu_json.dumps(value, cls=codec.Encoder, separators=(",", ":"), sort_keys=True)
    return text


def storable(text: str) -> str:
    """A text of at most 255 characters, that can be stored and is another one for another text."""
    text = escaped(text)
    if len(text) <= MAX_KEY:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: MAX_KEY - len(digest) - 1]} {digest}"


@dataclass(eq=False)
class Ticket:
    """Which job a call gets. Known when its row is written; the handle, if there is one already, learns it then."""

    id: str
    unique: Unique
    handle: Any = None
    is_new: bool = True

    def settle(self, job_id: str, is_new: bool) -> None:
        """The call gets this job."""
        self.id, self.is_new = job_id, is_new
        if self.handle is not None:
            self.handle.id = job_id

    def give_to(self, handle: Any) -> None:
        """Let a handle follow."""
        self.handle = handle
        handle.id = self.id


@dataclass(frozen=True, slots=True, eq=False)
class UniqueJob:
    """A job to be written if it gets its key."""

    job: NewJob
    key: Key
    ticket: Ticket


@dataclass(frozen=True, eq=False)
class UniqueSink(ListSink):
    """Writes unique jobs, and tells their tickets which job each call gets."""

    announce: Callable[[Sequence[NewJob]], None]
    statement: str = SQL["enqueue"]
    at_once: bool = True
    repeatable: bool = True

    def parameters(self, rows: Sequence[UniqueJob]) -> Mapping[str, Any]:
        """The first job of each key; raises DuplicateJob for two different jobs with one id."""
        first = {row.key.text: row for row in reversed(rows)}
        chosen = [row for row in rows if first[row.key.text] is row]
        by_id = {row.job.id: row for row in chosen}
        if len(by_id) < len(chosen):
            raise DuplicateJob(next(row.job.id for row in chosen if by_id[row.job.id] is not row))
        return {"rows": rows_json([_columns(row) for row in chosen])}

    def check(self, rows: Sequence[UniqueJob], returned: Sequence[Sequence[Any]]) -> None:
        """Settle the tickets; raises DuplicateJob for an id that belongs to another job."""
        given = {row[0]: (row[1], row[2]) for row in returned}
        first = {row.key.text: row.job.id for row in reversed(rows)}
        for row in rows:
            asked = first[row.key.text]
            if asked not in given:
                raise DuplicateJob(asked)
            job_id, contending = given[asked]
            row.ticket.settle(job_id, is_new=job_id == row.job.id and not contending)

    def committed(self, rows: Sequence[UniqueJob]) -> None:
        """Send the wake-ups of the jobs that were written and have their turn."""
        self.announce([row.job for row in rows if row.ticket.is_new])


def _columns(row: UniqueJob) -> dict[str, Any]:
    columns = {name: getattr(row.job, name) for name in NewJob.__slots__}
    return columns | {"key": row.key.text, "until": row.key.until, "within": row.key.within}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the dispatcher found about a job that contends for a key."""

    key: str
    id: str
    decided: bool
    duplicate_of: str | None


def take_key_again(connection: Connection, job_id: str) -> str | None:
    """Let a finished job that is to run again have its key; another job that has it, or None."""
    row = connection.execute(SQL["take_key_again"], {"id": job_id}).fetchone()
    assert row is not None
    other: str | None = row[0]
    return other


def decide(connection: Connection, after: tuple[str, str], limit: int) -> list[Decision]:
    """Decide about contenders behind `after`, a key and an id."""
    values = {"key": after[0], "id": after[1], "limit": limit}
    return [Decision(*row) for row in connection.execute(SQL["decide"], values)]
