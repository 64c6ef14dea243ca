"""Where an answer says that there is more to see."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response


def timeline_link(request: Request, response: Response, wanted: str) -> None:
    """Add a `Link` header to a response: where the timeline of an operation, a job, an event or a saga is."""
    url = f"{request.scope.get('root_path', '')}/trilho/op/{quote(wanted, safe='')}"
    response.headers.append("Link", f'<{url}>; rel="related"; title="timeline"')
