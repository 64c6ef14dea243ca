"""What a call of a saga function means, decided from its record alone: pure, without I/O.

Each function takes the entry at the place of the call (None where nothing is recorded there) and returns one decision.
The same record gives the same decision, but for time and mail: what these decide is recorded before anything depends
on it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from trilho.sagas.record import CALL, DONE, ENDED_WELL, FAILED, OPEN, RETRY, STEP, Entry, Mail

Pause: TypeAlias = Callable[[Entry], float | None]
"""Seconds between the failed attempt of an entry and the next one; None for no other."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the function: where it stands, and what it is."""

    path: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """What a call waits for: mail that is there already, for so many seconds."""

    mail: Mail | None
    timeout: float | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Give:
    """It ended well: the recorded value. `entry` has to be written where it is new."""

    entry: Entry
    new: bool = False


@dataclass(frozen=True, slots=True)
class Throw:
    """It failed for good. `entry` has to be written where it is new."""

    entry: Entry
    new: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """An attempt may begin."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing can be done now; look again at `until`, or when something comes. `entry` is new."""

    until: datetime | None = None
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """The time of a running task is over: it has to be ended."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The code does not fit the record."""

    reason: str


Decision = Give | Throw | Begin | Stay | Expire | Mismatch


def mismatch(entry: Entry, call: Call) -> Mismatch | None:
    """Whether the record at this place is of another call."""
    if (entry.kind, entry.name) == (call.kind, call.name):
        return None
    return Mismatch(
        f"the code does not fit the record at step {call.path}: recorded is {entry.kind} {entry.name!r}, "
        f"the code has {call.kind} {call.name!r} now; put the old code back, or let old runs take their old way "
        "with saga.patched() or saga.version, then retry"
    )


def of_step(call: Call, entry: Entry | None, pause: Pause, now: datetime) -> Decision:
    """A step or an undo. A task's attempt that failed is in RETRY without a time until somebody looks, a function's has
    one at once.

    A function that is OPEN was cut short with its process, which is nobody's attempt: the same one begins again.
    """
    if entry is None:
        return Begin(1)
    if (wrong := mismatch(entry, call)) is not None:
        return wrong
    if entry.state == OPEN:
        return _of_open_step(entry, now)
    if entry.state == RETRY:
        return _of_failed_attempt(entry, pause, now)
    return _of_ended(entry)


def _of_open_step(entry: Entry, now: datetime) -> Decision:
    if entry.job_id is None:
        return Begin(entry.attempt)
    if entry.due_at is None:
        return Stay()
    return Expire(entry) if entry.timed_out or now >= entry.due_at else Stay(entry.due_at)


def _of_failed_attempt(entry: Entry, pause: Pause, now: datetime) -> Decision:
    if entry.due_at is not None:
        return Begin(entry.attempt + 1) if now >= entry.due_at else Stay(entry.due_at)
    if entry.attempt == 0:  # a person gave it a fresh budget
        return Begin(1)
    seconds = pause(entry)
    if seconds is None:
        return Throw(replace(entry, state=FAILED), new=True)
    if seconds > 0:
        due = now + timedelta(seconds=seconds)
        return Stay(due, replace(entry, due_at=due))
    return Begin(entry.attempt + 1)


def _of_ended(entry: Entry) -> Decision:
    return Give(entry) if entry.state in ENDED_WELL else Throw(entry)


def of_wait(call: Call, entry: Entry | None, wait: Wait, now: datetime) -> Decision:
    """A signal or an event, and maybe a timer: what is there first when it is looked at wins, and is recorded."""
    if entry is None:
        due = None if wait.timeout is None else now + timedelta(seconds=wait.timeout)
        entry = Entry(call.path, call.kind, call.name, OPEN, key=wait.key, due_at=due)
        decision = _of_open_wait(entry, wait.mail, now)
        return replace(decision, entry=entry) if isinstance(decision, Stay) else decision
    if (wrong := mismatch(entry, call)) is not None:
        return wrong
    if entry.key != wait.key:
        return Mismatch(
            f"the code does not fit the record at step {call.path}: it waits for another key of {call.name}"
        )
    return _of_open_wait(entry, wait.mail, now) if entry.state == OPEN else _of_ended(entry)


def _of_open_wait(entry: Entry, mail: Mail | None, now: datetime) -> Decision:
    if mail is not None:
        return Give(replace(entry, state=DONE, mail=mail.number, result=mail.data), new=True)
    if entry.due_at is not None and now >= entry.due_at:
        error = f"no {entry.kind} {entry.name!r} came in time"
        return Throw(replace(entry, state=FAILED, timed_out=True, error=error), new=True)
    return Stay(entry.due_at)


def of_sleep(call: Call, entry: Entry | None, seconds: float, now: datetime) -> Decision:
    """A timer."""
    begun = entry
    if begun is None:
        begun = Entry(call.path, call.kind, call.name, OPEN, due_at=now + timedelta(seconds=seconds))
    elif (wrong := mismatch(begun, call)) is not None:
        return wrong
    if begun.ended:
        return _of_ended(begun)
    if begun.due_at is not None and now < begun.due_at:
        return Stay(begun.due_at, entry=begun if entry is None else None)
    return Give(replace(begun, state=DONE), new=True)


def of_call(call: Call, entry: Entry | None) -> Decision:
    """A run of another saga."""
    if entry is None:
        return Begin(1)
    if (wrong := mismatch(entry, call)) is not None:
        return wrong
    return Stay() if entry.state == OPEN else _of_ended(entry)


def of_mark(call: Call, entry: Entry | None, value: str) -> Decision:
    """A value that is made once: the time, an id, the name of a change."""
    if entry is None:
        return Give(Entry(call.path, call.kind, call.name, DONE, result=value), new=True)
    return mismatch(entry, call) or Give(entry)


# ---- undoing


def must_tell(known: Entry | None, entry: Entry) -> bool:
    """Whether the record has to say, before the function of a step begins, that something of it may be left."""
    return not entry.atomic and (known is None or known.atomic)


def unsettled(entries: Iterable[Entry]) -> list[Entry]:
    """Steps whose outcome is still open: nothing may be undone before it is known."""
    return [entry for entry in entries if entry.kind in (STEP, CALL) and not entry.ended]


def given_up(entry: Entry) -> Entry | None:
    """How an unsettled entry ends of which nothing runs any more; None where something has to be ended first."""
    if entry.state == RETRY:
        return replace(entry, state=FAILED, due_at=None)
    if entry.kind == STEP and entry.job_id is None:
        return replace(entry, state=FAILED, error="its outcome is not known: its process ended before it did")
    return None


def to_undo(entries: Iterable[Entry]) -> list[Entry]:
    """What has to be undone, in the order in which: the last to end first.

    A step that failed counts, too, where something of it may be left: an unknown outcome is undone.
    """
    started = [entry for entry in entries if entry.kind in (STEP, CALL) and entry.undo is not None and _left(entry)]
    return sorted(started, key=_end, reverse=True)


def _left(entry: Entry) -> bool:
    return entry.state in ENDED_WELL or (entry.state == FAILED and not entry.atomic)


def _end(entry: Entry) -> tuple[datetime, tuple[int, ...]]:
    assert entry.ended_at is not None
    return entry.ended_at, place(entry.path)


def place(path: str) -> tuple[int, ...]:
    """The numbers of a path, by which places have an order."""
    return tuple(int(number) for number in path.split("."))
