"""FastAPI routers, error documents and limits that any project can mount."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import FastAPI

from trilho.app import Trilho
from trilho.http import openapi, problems
from trilho.http.accepted import accepted
from trilho.http.auth import ApiKey
from trilho.http.correlation import Correlation
from trilho.http.jobs import jobs_router
from trilho.http.limits import MAX_BODY, BodyLimit
from trilho.http.links import timeline_link
from trilho.http.operations import operations_router
from trilho.http.problems import ProblemResponse, documented
from trilho.http.sagas import sagas_router
from trilho.http.schemas import Accepted, Problem, TaskOut
from trilho.http.stats import stats_router
from trilho.http.uploads import Upload, form_body, form_limit, receive_upload

__all__ = [
    "Accepted",
    "Problem",
    "ProblemResponse",
    "TaskOut",
    "Upload",
    "accepted",
    "documented",
    "form_body",
    "form_limit",
    "install",
    "jobs_router",
    "operations_router",
    "receive_upload",
    "sagas_router",
    "stats_router",
    "timeline_link",
]


def install(
    api: FastAPI, app: Trilho, *, max_body: int = MAX_BODY, body_limits: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Give this API Trilho's routes, problem documents for all errors, the API key, and a limit of bytes for bodies.

    What a request brings about belongs to one operation, with the id of its `X-Correlation-ID`: see `/trilho/op/{id}`.

    `body_limits` are the limits of paths that differ from `max_body`; see `form_limit` for those that take uploads.
    """
    problems.install(api)
    openapi.install(api, app)
    api.include_router(jobs_router(app))
    api.include_router(stats_router(app))
    api.include_router(operations_router(app))
    api.add_middleware(BodyLimit, limit=max_body, paths=body_limits)
    api.add_middleware(Correlation, app=app)
    api.add_middleware(ApiKey, app=app)
