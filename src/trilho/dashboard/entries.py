"""Entries from notes: what requests, and all kinds, have in common. Pure."""

from collections.abc import Iterator
from datetime import datetime

from trilho.dashboard.facts import Facts
from trilho.dashboard.operation import Entry, Kind, Span, Tone
from trilho.dashboard.rows import NoteRow
from trilho.dashboard.tree import Key, Node

WAITING = "waiting"


def causes_of(note: NoteRow) -> tuple[Key, ...]:
    """What may have brought about what a note speaks of, the nearest first."""
    if note.cause is None:
        return ()
    nearest: tuple[Key, ...] = () if note.via is None else (("handler", note.cause, note.via),)
    return (*nearest, *((kind, note.cause) for kind in ("job", "event", "request", "saga")))


def entry_of(note: NoteRow, kind: Kind, state: str, tone: Tone, spans: list[Span]) -> Entry:
    """An entry of which the note tells all that is known."""
    end = note.ended_at or note.at
    return Entry(
        id=note.id, kind=kind, name=note.name, depth=0, state=state, tone=tone, start=note.at, end=end, spans=spans
    )


def waiting(start: datetime, end: datetime | None, state: str = "PENDING") -> list[Span]:
    """The wait between two moments, if there is one; without an end it lasts."""
    if end is not None and end <= start:
        return []
    return [Span(label=WAITING, state=state, tone="waiting", start=start, end=end)]


def requests(facts: Facts) -> Iterator[Node[Entry]]:
    """The requests that began the operation, or were part of it."""
    for note in facts.notes:
        if note.kind == "request":
            status = note.outcome or "?"
            tone: Tone = "ok" if status < "4" else "failed"
            span = Span(label="request", state=status, tone=tone, start=note.at, end=note.ended_at)
            yield Node(("request", note.id), note.at, (), entry_of(note, "request", status, tone, [span]))
