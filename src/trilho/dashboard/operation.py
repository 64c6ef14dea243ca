"""An operation as a page and as JSON show it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Kind = Literal["request", "job", "event", "handler", "saga", "step", "undo"]
Tone = Literal["ok", "running", "waiting", "failed", "undone", "plain"]

_EXAMPLE_ID = "01937d6f-6f0e-7cc1-a5b0-1d5f3f6f2a11"


class Span(BaseModel):
    """One stretch of time of an entry: an attempt, or a wait."""

    label: str = Field(examples=["attempt 1"])
    state: str = Field(description="How it ended, or what it is now.", examples=["RETRY"])
    tone: Tone
    start: datetime
    end: datetime | None = Field(description="null while it lasts; the same as `start` for a point in time.")
    error: str | None = Field(default=None, examples=["TimeoutError: the bank does not answer"])
    worker: str | None = Field(default=None, examples=["worker@host"])


class Entry(BaseModel):
    """One thing that the operation did; it stands right behind what brought it about, or behind its sisters."""

    id: str = Field(description="Of the request, job, event or saga; of a handler, that of its event.")
    kind: Kind
    name: str = Field(
        description="Method and path, task, topic, consumer group, saga or step.", examples=["payment-service"]
    )
    depth: int = Field(description="How many causes stand above it.")
    state: str = Field(
        description="Of a request its HTTP status, of a job, saga or step its state, of a handler `done`, `retry`, "
        "`queued` (behind an event of its key), `waiting`, `parked` (a person decides) or `dead_letter`.",
        examples=["SUCCESS"],
    )
    tone: Tone = Field(description="What the state comes to.")
    start: datetime | None
    end: datetime | None = Field(description="null while it lasts.")
    spans: list[Span] = Field(description="Attempts and waits, oldest first.")
    error: str | None = None
    data: str | None = Field(default=None, description="Data, result or progress as JSON, shortened; secrets masked.")
    facts: dict[str, str] = Field(default_factory=dict, description="What else is known: key, queue, offset, …")


class Operation(BaseModel):
    """All that one operation did: requests, jobs, events, handlers and sagas, in the order of cause and time."""

    id: str = Field(description="The id that was asked for.", examples=[_EXAMPLE_ID])
    operations: list[str] = Field(description="The correlation ids that it belongs to.", examples=[[_EXAMPLE_ID]])
    live: bool = Field(description="Whether more is to be expected.")
    state: Literal["running", "done", "undone", "failed"]
    now: datetime
    start: datetime | None
    end: datetime | None = Field(description="When the last thing happened.")
    shown: int = Field(description="Notes that were read.")
    total: int = Field(description="Notes that there are, counted up to 20,000 for each operation.")
    job_states: dict[str, int] = Field(description="Jobs by state, where not all are shown.", examples=[{"SUCCESS": 9}])
    entries: list[Entry]
