"""The API key: when one is set, every request but those for health and documentation must bring it."""

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trilho.app import Trilho
from trilho.http.problems import ProblemResponse

OPEN_PATHS = frozenset({"/healthz", "/docs", "/openapi.json"})
"""A health check has no key, and a browser cannot send one with the page to type it in; none of these holds data."""


class ApiKey:
    """ASGI middleware that answers 401 to requests without the key of the settings."""

    def __init__(self, asgi: ASGIApp, app: Trilho, open_paths: Collection[str] = OPEN_PATHS) -> None:
        self._asgi = asgi
        self._app = app
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or scope["path"] in self._open_paths or self._admits(Headers(scope=scope)):
            await self._asgi(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refusal()(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        key = self._app.settings.api_key
        return not key or hmac.compare_digest(_given(headers).encode("latin-1"), key.encode())


def _given(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _refusal() -> ProblemResponse:
    detail = "send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    headers = {"WWW-Authenticate": "Bearer"}
    return ProblemResponse(401, "api-key", "The API key is missing or wrong", detail, headers=headers)
