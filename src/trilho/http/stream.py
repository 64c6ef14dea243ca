"""Server-sent events: the document of one job, again whenever it changes, until the job is finished."""

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from trilho.http.hub import Watched

HEARTBEAT = 15.0
"""Seconds of silence after which a comment shows proxies and clients that the stream lives."""
RETRY = (1000, 3000)
"""Milliseconds after which a client whose connection broke comes back; spread, for all of them lose it at once."""

_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """A response of server-sent events, from an asynchronous generator that is closed with it."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send until the events end or the client is gone."""
        async with aclosing(cast("AsyncGenerator[bytes, None]", self.body_iterator)):
            await super().stream_response(send)


def stream_to(watched: Watched, last_seen: str | None) -> Response:
    """The stream, or 204 for who has seen the end: that is what stops a browser from coming back for ever."""
    document = watched.document
    if document is not None and document.finished and document.version == last_seen:
        return Response(status_code=204)
    return EventStream(events(watched, last_seen), headers=_HEADERS)


async def events(watched: Watched, last_seen: str | None) -> AsyncGenerator[bytes, None]:
    """The text of the stream."""
    yield format_sse_event(retry=random.randint(*RETRY))  # noqa: S311 - not a secret
    while (document := watched.document) is not None:
        if document.version != last_seen:
            last_seen = document.version
            yield format_sse_event(event="task", id=document.version, data_str=document.text)
        elif document.finished or watched.over:
            return
        elif not await watched.changed(HEARTBEAT):
            yield KEEPALIVE_COMMENT
