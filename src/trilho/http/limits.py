"""How large the body of a request may be."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trilho.http.problems import ProblemResponse

MAX_BODY = 1_000_000


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
        if _announced(scope) > limit:
            await _refusal(limit)(scope, receive, send)
        else:
            await self._asgi(scope, _limited(receive, limit), send)


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _limited(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _detail(limit), headers={"Connection": "close"})
        return message

    return counted


def _refusal(limit: int) -> ProblemResponse:
    # What is left of the body is not read, so the connection cannot carry another request.
    headers = {"Connection": "close"}
    return ProblemResponse(413, "", "Content Too Large", _detail(limit), headers=headers)


def _detail(limit: int) -> str:
    return f"the body of this request may have at most {limit:,} bytes"
