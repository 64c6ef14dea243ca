"""The operation that a request belongs to: its id is taken from the caller or made here, and told to him."""

import asyncio
import re
import time

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trilho import trace
from trilho.app import Trilho
from trilho.http.problems import CORRELATION
from trilho.log import get_logger
from trilho.timeline.note import Note, write_alone
from trilho.trace import Effects, Trace

GIVEN = (CORRELATION, "X-Request-ID")
_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

log = get_logger(__name__)


class Correlation:
    """ASGI middleware: what a request enqueues or publishes belongs to one operation.

    A request that did is noted in the timeline after its answer; of all others nothing is kept.
    """

    def __init__(self, asgi: ASGIApp, app: Trilho) -> None:
        self._asgi = asgi
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, inside its operation."""
        if scope["type"] != "http":
            await self._asgi(scope, receive, send)
            return
        origin, request_id, began = origin_of(Headers(scope=scope)), str(uuid_utils.uuid7()), time.monotonic()
        correlation_id = origin.correlation_id or request_id
        scope[CORRELATION] = correlation_id
        effects, status = Effects(), 500  # what raises is answered outside of here

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION] = correlation_id
            await send(message)

        try:
            with trace.entered(Trace(correlation_id, request_id, origin.traceparent, effects=effects)):
                await self._asgi(scope, receive, sent)
        finally:
            if effects.any:
                name, took = f"{scope['method']} {scope['path']}", time.monotonic() - began
                await self._note(Note(correlation_id, "request", request_id, name, took, took, str(status)))

    async def _note(self, note: Note) -> None:
        try:
            await asyncio.to_thread(self._app.database.run, write_alone, note)
        except Exception as error:  # the request was served, and what it brought about is durable
            log.warning("timeline.request_not_noted", error=str(error), kind=type(error).__name__)


def origin_of(headers: Headers) -> Trace:
    """What the caller says of the operation: an id of his own, or that of his W3C trace, if it can be used."""
    given = next((value for name in GIVEN if _ID.fullmatch(value := headers.get(name, ""))), None)
    traced = _TRACEPARENT.fullmatch(parent := headers.get("traceparent", ""))
    return Trace(given or (traced and traced[1]) or None, None, parent if traced else None)
