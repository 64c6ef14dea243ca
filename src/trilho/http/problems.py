"""Errors as RFC 9457 problem documents (application/problem+json)."""

from http import HTTPStatus
from typing import Any

import psycopg
import sqlalchemy.exc
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from trilho.errors import (
    ConfigurationError,
    DuplicateJob,
    DuplicateSaga,
    JobStateError,
    PayloadTooLarge,
    SagaStateError,
    UnknownJob,
    UnknownSaga,
)
from trilho.http.schemas import FieldError, Problem
from trilho.log import get_logger

MEDIA_TYPE = "application/problem+json"
CORRELATION = "X-Correlation-ID"
"""Header of every answer, and key of the request's scope: this answer is made outside of all middleware."""
RETRY_AFTER = "2"

_TYPE = "urn:trilho:problem:"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_NO_TYPE = "about:blank"  # RFC 9457: the status says it all
_MAX_DETAIL = 1000

_DATABASE_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)

_ACCEPTED = {
    "description": "The job is stored and will run.",
    "headers": {"Location": {"description": "Path of `GET /tasks/{task_id}`.", "schema": {"type": "string"}}},
}
MEANINGS = {
    400: "The body of the request is no JSON.",
    401: "An API key is set, and the request has none or another one.",
    404: "Nothing has this id.",
    409: "Its state does not allow this.",
    413: "The body of the request is too large.",
    422: "A parameter is missing or cannot be used; `errors` says which, and why.",
    500: "The request failed for a reason that nobody foresaw; the server's log has it.",
    503: "The database does not answer; send the request again after `Retry-After` seconds.",
}

log = get_logger(__name__)


class ProblemResponse(JSONResponse):
    """One problem as a response; `kind` is the stable last part of its type, empty where the status says it all."""

    media_type = MEDIA_TYPE

    def __init__(self, status: int, kind: str, title: str, detail: str, **extra: Any) -> None:
        headers = extra.pop("headers", None)
        shown = detail if len(detail) <= _MAX_DETAIL else detail[:_MAX_DETAIL] + "…"
        problem = Problem(type=_TYPE + kind if kind else _NO_TYPE, title=title, status=status, detail=shown, **extra)
        super().__init__(problem.model_dump(mode="json", exclude_none=True), status, headers=headers)


def install(api: FastAPI) -> None:
    """Turn every error of this API, FastAPI's own too, into a problem document."""
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(UnknownJob, _unknown)
    api.add_exception_handler(JobStateError, _wrong_state)
    api.add_exception_handler(DuplicateJob, _duplicate)
    api.add_exception_handler(UnknownSaga, _unknown_saga)
    api.add_exception_handler(SagaStateError, _wrong_saga_state)
    api.add_exception_handler(DuplicateSaga, _duplicate_saga)
    api.add_exception_handler(PayloadTooLarge, _too_large)
    api.add_exception_handler(ConfigurationError, _not_configured)
    for error in _DATABASE_AWAY:
        api.add_exception_handler(error, _database_away)
    api.add_exception_handler(Exception, _unexpected)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with these statuses: 202 for a job, and problems."""
    return {status: _ACCEPTED if status == HTTPStatus.ACCEPTED else _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    return {"model": Problem, "description": MEANINGS[status]}


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != title else f"{request.method} {request.url.path}: {title.lower()}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return ProblemResponse(error.status_code, "", title, detail, headers=headers)


def _allowed(request: Request) -> list[str]:
    # Each FastAPI route knows its own methods only, and names those; a path may have several routes.
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    routes = request.app.router.routes
    return [method for method in _METHODS if any(route.matches(scopes[method])[0] is Match.FULL for route in routes)]


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [FieldError.of(item) for item in error.errors()]
    detail = "; ".join(f"{item.field}: {item.message}" for item in errors)
    return ProblemResponse(422, "invalid-request", "The request cannot be used", detail, errors=errors)


def _unknown(_: Request, error: Exception) -> Response:
    return ProblemResponse(404, "unknown-job", "No such job", str(error))


def _wrong_state(_: Request, error: Exception) -> Response:
    assert isinstance(error, JobStateError)
    title = "The job's state does not allow this"
    return ProblemResponse(409, "wrong-state", title, str(error), state=error.state)


def _duplicate(_: Request, error: Exception) -> Response:
    return ProblemResponse(409, "duplicate-job", "The id belongs to another job", str(error))


def _unknown_saga(_: Request, error: Exception) -> Response:
    return ProblemResponse(404, "unknown-saga", "No such saga", str(error))


def _wrong_saga_state(_: Request, error: Exception) -> Response:
    assert isinstance(error, SagaStateError)
    title = "The saga's state does not allow this"
    return ProblemResponse(409, "wrong-saga-state", title, str(error), state=error.state)


def _duplicate_saga(_: Request, error: Exception) -> Response:
    return ProblemResponse(409, "duplicate-saga", "The id belongs to another saga", str(error))


def _too_large(_: Request, error: Exception) -> Response:
    return ProblemResponse(413, "payload-too-large", "The arguments of the job are too large", str(error))


def _not_configured(_: Request, error: Exception) -> Response:
    return ProblemResponse(503, "not-configured", "A setting is missing", str(error))


def _database_away(_: Request, error: Exception) -> Response:
    # The driver's text may hold host names and statements: it is for the log, not for the caller.
    log.warning("database_away", error=str(error), kind=type(error).__name__)
    detail = "the database does not answer, and the request was not confirmed: send it again in a moment"
    headers = {"Retry-After": RETRY_AFTER}
    return ProblemResponse(503, "database-away", "The database does not answer", detail, headers=headers)


def _unexpected(request: Request, _: Exception) -> Response:
    detail = f"{request.method} {request.url.path} failed; the server's log has the reason"
    headers = {CORRELATION: known} if (known := request.scope.get(CORRELATION)) else None
    return ProblemResponse(500, "internal-error", "Internal server error", detail, headers=headers)
