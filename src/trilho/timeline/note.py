"""A note of the timeline, and the verb that writes some."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic_core import to_json

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.db.text import escaped

SQL = beside(__file__, "timeline.sql")
MOST = 255
"""Characters of an id, a key or a name; an entry of an index has its limit."""
MOST_OF_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Note:
    """A request, or one attempt of a handler: what it was, and how it ended. `ago` and `took` are seconds."""

    operation: str
    kind: str
    id: str
    name: str
    ago: float
    took: float
    outcome: str
    cause: str | None = None
    via: str | None = None
    key: str | None = None
    attempt: int | None = None
    error: str | None = None
    partition: int | None = None
    offset: int | None = None


def short(text: str) -> str:
    """The text as the timeline keeps it: an index has its limit, and PostgreSQL refuses some characters."""
    if len(text) <= MOST and text.isascii() and "\x00" not in text:
        return text
    return escaped(text[:MOST])[:MOST]


def notes_json(notes: Sequence[Note]) -> str:
    """Notes as the one JSON parameter of a statement."""
    return to_json([_row(note) for note in notes]).decode()


_NAMES = tuple(field.name for field in fields(Note))
_SHORT = ("operation", "id", "name", "cause", "via", "key")


def _row(note: Note) -> dict[str, Any]:
    row = {name: getattr(note, name) for name in _NAMES}
    for name in _SHORT:
        row[name] = row[name] and short(row[name])
    row["error"] = note.error and escaped(note.error[:MOST_OF_ERROR])
    return row


def write(connection: Connection, notes: Sequence[Note]) -> None:
    """Write notes with the transaction of the connection."""
    if notes:
        connection.execute(SQL["note"], {"notes": notes_json(notes)})


def write_alone(connection: Connection, note: Note) -> None:
    """Write a note that nothing depends on: a crash of the server may take it back."""
    row = _row(note)
    connection.execute(SQL["note_alone"], {n: row[n] for n in ("operation", "kind", "id", "name", "took", "outcome")})
