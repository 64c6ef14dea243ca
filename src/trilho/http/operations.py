"""Routes of the timeline: one operation as a page or as JSON, and the files of the page."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from trilho.app import Trilho
from trilho.dashboard.assembly import operation_of
from trilho.dashboard.facts import read
from trilho.dashboard.operation import Operation
from trilho.dashboard.page import STATIC, rendered, rendered_missing, static_file
from trilho.db.text import is_storable
from trilho.http.problems import documented
from trilho.http.schemas import Problem

MAX_ID = 255

OperationId = Annotated[
    str, Path(description="Id of an operation (`X-Correlation-ID`), a job, an event or a saga, or the key of events.")
]
Format = Annotated[str | None, Query(pattern="^(json|html)$", description="Overrides what `Accept` asks for.")]

_UNKNOWN = "no operation, job, event or saga has this id, and no event has it as its key"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    404: {"model": Problem, "description": f"Of what is kept, {_UNKNOWN}."},
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def operations_router(app: Trilho) -> APIRouter:
    """`/trilho/op/{id}` and `/trilho/static`."""
    router = APIRouter(prefix="/trilho", tags=["timeline"])

    @router.get(
        "/op/{operation_id:path}",
        summary="Show a whole operation",
        response_model=Operation,
        responses=_RESPONSES | documented(422, 503),
    )
    def show(operation_id: OperationId, request: Request, format: Format = None) -> Response:  # noqa: A002
        """Requests, jobs, events, handlers and sagas, under what caused them, with every attempt.

        A page for who accepts HTML, live while something is to be expected; JSON for everyone else.
        """
        html = format == "html" or (format is None and "text/html" in request.headers.get("accept", ""))
        root = request.scope.get("root_path", "")
        found = operation(app, operation_id)
        if found is None and not html:
            raise HTTPException(404, f"nothing is known of {operation_id[:MAX_ID]!r}: {_UNKNOWN}")
        if found is None:
            return Response(rendered_missing(operation_id, root), 404, media_type="text/html", headers=_HEADERS)
        if not html:
            return Response(found.model_dump_json(), media_type="application/json", headers=_HEADERS)
        return Response(rendered(found, root), media_type="text/html", headers=_HEADERS)

    @router.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(static_file(name), media_type=STATIC[name], headers=headers)

    return router


def operation(app: Trilho, wanted: str) -> Operation | None:
    """The operation that an id belongs to; None for what nothing can be called."""
    if not is_storable(wanted, MAX_ID):
        return None
    with app.database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        facts = read(connection, wanted)
    return None if facts is None else operation_of(wanted, facts)
