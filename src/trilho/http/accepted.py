"""The answer to a request that enqueued a job."""

from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from trilho.http.links import timeline_link
from trilho.http.schemas import Accepted

A = TypeVar("A", bound=Accepted)


def accepted(request: Request, response: Response, model: type[A], task_id: str, **fields: Any) -> A:
    """The body of a 202, with its `Location` and `Link` headers set; `fields` are what `model` adds to Accepted."""
    # A path, not a URL: behind a proxy the server does not know the name by which it was called.
    url = f"{request.scope.get('root_path', '')}/tasks/{quote(task_id, safe='')}"
    response.headers["Location"] = url
    timeline_link(request, response, task_id)
    return model(task_id=task_id, status_url=url, **fields)
