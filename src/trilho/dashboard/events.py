"""Events on the timeline, and what each group's handler did with them. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from trilho.dashboard.entries import causes_of, entry_of, waiting
from trilho.dashboard.facts import Facts
from trilho.dashboard.masking import error_of, shown
from trilho.dashboard.operation import Entry, Span, Tone
from trilho.dashboard.rows import NoteRow
from trilho.dashboard.tree import Node

TONES: dict[str, Tone] = {
    "done": "ok", "retry": "waiting", "queued": "waiting", "waiting": "waiting", "parked": "failed",
    "dead_letter": "failed",
}  # fmt: skip


def events(facts: Facts) -> Iterator[Node[Entry]]:
    """What was published; an event that began the operation is known from who handled it."""
    places = {note.id: f"{note.partition}/{note.offset}" for note in facts.notes if note.offset is not None}
    logged = {row.id: row for row in facts.logged}
    notes = facts.first_notes("event")
    for note in (notes | facts.first_notes("handling") | notes).values():
        row = logged.get(note.id)
        at = row.time if row is not None and note.kind == "handling" else note.at
        span = Span(label="published", state="published", tone="plain", start=at, end=at)
        entry = entry_of(note, "event", "published", "plain", [span])
        known = {"key": note.key, "type": row and row.type, "offset": places.get(note.id)}
        update = {
            "start": at, "end": at, "data": None if row is None else shown(row.data),
            "facts": {name: value for name, value in known.items() if value},
        }  # fmt: skip
        yield Node(("event", note.id), at, causes_of(note), entry.model_copy(update=update))


def handlers(facts: Facts) -> Iterator[Node[Entry]]:
    """What the consumer groups did with the events, and which of them have not come so far."""
    tried: dict[tuple[str, str], list[NoteRow]] = defaultdict(list)
    for note in facts.notes:
        if note.kind == "handling":
            tried[note.id, note.via or ""].append(note)
    for (event, group), notes in tried.items():
        yield Node(("handler", event, group), notes[0].at, (("event", event),), handler_entry(event, group, notes))
    yield from _still_to_come(facts, set(tried))


def handler_entry(event: str, group: str, notes: Sequence[NoteRow]) -> Entry:
    """What a group did with an event, attempt by attempt."""
    last = notes[-1]
    state = last.outcome or "done"
    tone = TONES.get(state, "plain")
    return Entry(
        id=event,
        kind="handler",
        name=group,
        depth=0,
        state=state,
        tone=tone,
        start=notes[0].at,
        end=None if tone == "waiting" else last.ended_at or last.at,
        spans=_spans(notes, tone == "waiting"),
        error=error_of(last.error),
        facts={"topic": last.name, "attempt": str(last.attempt or 0)},
    )


def _spans(notes: Sequence[NoteRow], waits: bool) -> list[Span]:
    """Attempts, and the waits between them."""
    spans: list[Span] = []
    free = None
    for note in notes:
        spans += waiting(free, note.at) if free is not None else []
        spans.append(_try(note))
        free = note.ended_at or note.at
    return spans + (waiting(free, None) if waits and free is not None else [])


def _try(note: NoteRow) -> Span:
    state = note.outcome or "done"
    tone: Tone = "failed" if state == "retry" else TONES.get(state, "plain")
    label = f"attempt {note.attempt}" if note.attempt else "queued behind its key"
    end = note.ended_at or note.at
    return Span(label=label, state=state, tone=tone, start=note.at, end=end, error=error_of(note.error))


def _still_to_come(facts: Facts, tried: set[tuple[str, str]]) -> Iterator[Node[Entry]]:
    """Groups that read the topic, and have not come so far: known once any group has told where the event stands."""
    places = {note.id: note for note in facts.notes if note.kind == "handling" and note.offset is not None}
    for event, place in places.items():
        for reader in facts.readers:
            behind = (reader.topic, reader.partition) == (place.name, place.partition) and (
                reader.next_offset <= (place.offset or 0)
            )
            if behind and (event, reader.group) not in tried:
                entry = Entry(
                    id=event, kind="handler", name=reader.group, depth=0, state="waiting", tone="waiting", start=None,
                    end=None, spans=[], facts={"topic": place.name},
                )  # fmt: skip
                yield Node(("handler", event, reader.group), place.at, (("event", event),), entry)
