"""The OpenAPI document: what FastAPI derives, and what holds for every route."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from trilho.app import Trilho
from trilho.http.auth import OPEN_PATHS
from trilho.http.problems import MEANINGS, MEDIA_TYPE

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def install(api: FastAPI, app: Trilho) -> None:
    """Complete the document of this API when it is first asked for."""
    derive = api.openapi

    def complete() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = derive()
            for path, operation in _operations(document):
                _complete(operation, protected=bool(app.settings.api_key) and path not in OPEN_PATHS)
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            if app.settings.api_key:
                document["components"]["securitySchemes"] = _SCHEMES
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = complete  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        yield from ((path, operation) for operation in item.values())


def _complete(operation: dict[str, Any], protected: bool) -> None:
    responses = operation["responses"]
    for status in (401, 500) if protected else (500,):
        responses[str(status)] = {"description": MEANINGS[status]}
    if protected:
        operation["security"] = [{name: []} for name in _SCHEMES]
    if "422" in responses:
        responses["422"]["description"] = MEANINGS[422]
    for status, response in responses.items():
        if status >= "400":
            response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
