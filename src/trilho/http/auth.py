"""The API key: when one is set, every request but those for health and documentation must bring it."""

import base64
import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trilho.app import Trilho
from trilho.http.problems import ProblemResponse

OPEN_PATHS = frozenset({"/healthz", "/docs", "/openapi.json"})
"""A health check has no key, and a browser cannot send one with the page to type it in; none of these holds data."""
_READING = frozenset({"GET", "HEAD"})
"""With these a browser may bring the key as a password. It would send that by itself with the forms of other sites."""


class ApiKey:
    """ASGI middleware that answers 401 to requests without the key of the settings."""

    def __init__(self, asgi: ASGIApp, app: Trilho, open_paths: Collection[str] = OPEN_PATHS) -> None:
        self._asgi = asgi
        self._app = app
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        headers = Headers(scope=scope)
        if scope["type"] == "lifespan" or scope["path"] in self._open_paths or self._admits(headers, scope):
            await self._asgi(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refusal("text/html" in headers.get("accept", ""))(scope, receive, send)

    def _admits(self, headers: Headers, scope: Scope) -> bool:
        key = self._app.settings.api_key
        return not key or hmac.compare_digest(_given(headers, scope).encode("latin-1"), key.encode())


def _given(headers: Headers, scope: Scope) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and scope.get("method") in _READING:
        return _password(token)
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _password(token: str) -> str:
    try:
        return base64.b64decode(token.strip(), validate=True).decode("latin-1").partition(":")[2]
    except ValueError:
        return ""


def _refusal(in_a_browser: bool) -> ProblemResponse:
    detail = "send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    headers = {"WWW-Authenticate": 'Basic realm="the password is the API key"' if in_a_browser else "Bearer"}
    return ProblemResponse(401, "api-key", "The API key is missing or wrong", detail, headers=headers)
