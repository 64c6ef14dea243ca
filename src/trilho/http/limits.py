"""How large the body of a request may be."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from anyio import move_on_after
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trilho.http.problems import ProblemResponse

MAX_BODY = 1_000_000
LINGER = 5.0
"""Seconds for which the rest of a refused body is read."""


class BodyLimit:
    """ASGI middleware that refuses bodies above `limit` bytes, or above what `paths` says for a path.

    A body that announces its size is refused before the endpoint runs: an endpoint that never reads its body must not
    have enqueued something for an answer that says 413.
    """

    def __init__(self, asgi: ASGIApp, limit: int = MAX_BODY, paths: Mapping[str, int] = MappingProxyType({})) -> None:
        self._asgi = asgi
        self._limit = limit
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a limited body, or refuse it."""
        if scope["type"] != "http":
            await self._asgi(scope, receive, send)
            return
        limit = self._paths.get(scope["path"], self._limit)
        body = _Body(receive, limit)
        asgi = _refusal(limit) if _announced(scope) > limit else self._asgi
        await asgi(scope, body.receive, _lingering(body, send))


class _Body:
    """What arrives, counted."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._ended = False

    async def receive(self) -> Message:
        message = await self._next()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise HTTPException(413, _detail(self._limit), headers={"Connection": "close"})
        return message

    async def drain(self) -> None:
        """Read what is left and forget it, for a few seconds at most."""
        with move_on_after(LINGER):
            while not self._ended:
                await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        return message


def _lingering(body: _Body, send: Send) -> Send:
    # A connection that is closed while the client still sends is reset, and the client may never read why.
    refused = False

    async def sent(message: Message) -> None:
        nonlocal refused
        refused = refused or message.get("status") == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if refused and message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({**message, "more_body": True})
            await body.drain()
            message = {"type": "http.response.body"}
        await send(message)

    return sent


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _refusal(limit: int) -> ProblemResponse:
    # What is left of the body after the lingering is not read: the connection cannot carry another request.
    headers = {"Connection": "close"}
    return ProblemResponse(413, "", "Content Too Large", _detail(limit), headers=headers)


def _detail(limit: int) -> str:
    return f"the body of this request may have at most {limit:,} bytes"
