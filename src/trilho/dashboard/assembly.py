"""Facts become an operation: entries with their attempts, under what caused them. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

from trilho.dashboard.entries import requests
from trilho.dashboard.events import events, handlers
from trilho.dashboard.facts import Facts
from trilho.dashboard.jobs import jobs
from trilho.dashboard.operation import Entry, Operation
from trilho.dashboard.sagas import sagas
from trilho.dashboard.tree import flattened

SETTLING = timedelta(seconds=5)
"""After the last thing that happened, something may follow that nobody knows of yet."""
FIRST_LOOK = timedelta(seconds=60)
"""For how long an event that no group has handled is expected to be."""

OPEN = frozenset({"waiting", "running"})


def operation_of(wanted: str, facts: Facts) -> Operation:
    """The operation as it is shown."""
    nodes = [*sagas(facts), *requests(facts), *jobs(facts), *events(facts), *handlers(facts)]
    entries = [entry.model_copy(update={"depth": depth}) for depth, entry in flattened(nodes)]
    times = [time for entry in entries for time in _times(entry)]
    end = max(times, default=None)
    unfinished = any(entry.tone in OPEN for entry in entries) or _unread(facts, entries)
    return Operation(
        id=wanted,
        operations=list(facts.operations),
        live=unfinished or end is None or facts.now - end < SETTLING,
        state="running" if unfinished else outcome_of(entries),
        now=facts.now,
        start=min(times, default=None),
        end=end,
        shown=len(facts.notes),
        total=facts.total,
        job_states=dict(facts.job_states),
        entries=entries,
    )


def outcome_of(entries: Sequence[Entry]) -> Literal["failed", "undone", "done"]:
    """What an operation came to in which nothing is open; a failed step is its saga's business."""
    if any(entry.tone == "failed" and entry.kind not in {"step", "undo"} for entry in entries):
        return "failed"
    return "undone" if any(entry.tone == "undone" and entry.kind == "saga" for entry in entries) else "done"


def _times(entry: Entry) -> Iterator[datetime]:
    stamps = [entry.start, entry.end, *(time for span in entry.spans for time in (span.start, span.end))]
    yield from (time for time in stamps if time is not None)


def _unread(facts: Facts, entries: Sequence[Entry]) -> bool:
    """Whether a young event that some group reads has not been handled by any."""
    read = {reader.topic for reader in facts.readers}
    handled = {entry.id for entry in entries if entry.kind == "handler"}
    return any(
        entry.kind == "event" and entry.name in read and entry.id not in handled
        and entry.start is not None and facts.now - entry.start < FIRST_LOOK
        for entry in entries
    )  # fmt: skip
