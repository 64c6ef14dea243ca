"""A client of server-sent events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Event:
    """What stood between two blank lines; a block of comments only has no fields."""

    fields: dict[str, str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The data of the event."""
        content: dict[str, Any] = json.loads(self.fields["data"])
        return content


class Stream:
    """An open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def blocks(self) -> Iterator[Event]:
        """Every block, comments and the like too, until the server closes."""
        event = Event()
        for line in self._lines:
            if not line:
                yield event
                event = Event()
            else:
                name, _, value = line.partition(":")
                event.fields[name] = value.removeprefix(" ")

    def next(self) -> Event:
        """The next event; StopIteration when the stream ends without one."""
        return next(block for block in self.blocks() if "event" in block.fields)

    def rest(self) -> list[Event]:
        """All that comes until the server closes the stream."""
        return [block for block in self.blocks() if "event" in block.fields]


@contextmanager
def following(client: httpx.Client, task_id: str, last_seen: str | None = None) -> Iterator[Stream]:
    """The stream of a job, as the client that has seen the event `last_seen` gets it."""
    headers = {"accept": "text/event-stream"} | ({"last-event-id": last_seen} if last_seen else {})
    with client.stream("GET", f"/tasks/{task_id}/stream", headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield Stream(response)
