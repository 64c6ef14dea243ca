"""`/cdn`: the published files, for browsers that want to seek in them."""

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from loja.app import app
from loja.settings import ShopSettings

router = APIRouter()

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=86400"}


@router.api_route("/cdn/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def get_file(request: Request, path: str) -> Response:
    """One published file, whole or a range of it."""
    # What begins with a dot is being written.
    if any(part.startswith(".") for part in path.split("/")):
        raise HTTPException(404)
    folder = ShopSettings().cdn_folder(app.settings.data)
    # Resolves symbolic links before it compares: nothing outside of the folder can be named.
    response = await StaticFiles(directory=folder, check_dir=False).get_response(path, request.scope)
    response.headers.update(_HEADERS)
    return response
