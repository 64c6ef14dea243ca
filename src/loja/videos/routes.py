"""Routes of the videos."""

from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from loja.app import app
from loja.settings import ShopSettings
from loja.videos import catalogue
from loja.videos.intake import MAX_TITLE, take_in, title_of
from loja.videos.schemas import VideoAccepted, VideoOut, VideoPage
from loja.videos.shelf import Shelf
from loja.videos.tasks import job_of
from loja.videos.video import Video, standing
from trilho import Job
from trilho.http import Upload, accepted, documented, form_body, form_limit, receive_upload

router = APIRouter(prefix="/videos", tags=["videos"])

_FIELDS = ("title",)


def upload_limit() -> int:
    """Bytes of the body of `POST /videos`."""
    return form_limit(ShopSettings().max_video, len(_FIELDS))


def _form() -> dict[str, Any]:
    body = form_body("file", *_FIELDS)
    [content] = body["requestBody"]["content"].values()
    content["schema"]["properties"]["file"]["minLength"] = 1
    content["schema"]["properties"]["title"]["maxLength"] = MAX_TITLE
    return body


@router.post(
    "",
    status_code=202,
    summary="Publish a video",
    responses=documented(202, 413, 422, 503),
    openapi_extra=_form(),
)
async def post_video(request: Request, response: Response) -> VideoAccepted:
    """Stores the upload; a job re-encodes it to H.264, makes a thumbnail, and publishes both.

    What it is called and what type the client says it has does not matter: ffmpeg looks at the content.
    """
    settings = ShopSettings()
    shelf = Shelf.of(settings, app.settings.data)
    upload = await receive_upload(request, "file", shelf.uploads, limit=settings.max_video, fields=_FIELDS)
    video = await to_thread.run_sync(_take_in, upload, shelf)
    url = f"{_root(request)}/videos/{video.id}"
    return accepted(
        request, response, VideoAccepted, str(video.id), id=video.id, status="processing", title=video.title, url=url
    )


@router.get("", summary="List videos", responses=documented(422, 503))
def list_videos(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the page before.")] = None,
) -> VideoPage:
    """Newest first."""
    with app.transaction() as tx:
        found = catalogue.page(tx.session, limit + 1, cursor)
    items = [_shown(request, video) for video in found[:limit]]
    return VideoPage(items=items, next_cursor=found[limit - 1].id if len(found) > limit else None)


@router.get("/{video_id}", summary="Show a video", responses=documented(404, 422, 503))
def get_video(request: Request, video_id: UUID) -> VideoOut:
    """How far it is, why it failed, or where it can be seen."""
    video = _found(video_id)
    if video is None:
        raise HTTPException(404, f"no video has the id {video_id}")
    return _shown(request, video)


def _take_in(upload: Upload, shelf: Shelf) -> Video:
    title = upload.fields.get("title", "")
    wrong = ("file", "must not be empty") if not upload.size else None
    if len(title) > MAX_TITLE:
        wrong = ("title", f"must not be longer than {MAX_TITLE} characters, and has {len(title):,}")
    if wrong is not None:
        upload.path.unlink(missing_ok=True)
        raise RequestValidationError([{"type": "form", "loc": ("body", wrong[0]), "msg": wrong[1], "input": None}])
    return take_in(upload, title_of(title, upload.filename), shelf)


def _found(video_id: UUID) -> Video | None:
    with app.transaction() as tx:
        return catalogue.get(tx.session, video_id)


def _shown(request: Request, video: Video) -> VideoOut:
    job = job_of(video.id) if video.published_at is None else None
    if _is_news(job):
        video = _found(video.id) or video
    return VideoOut.of(video, standing(video, job), _root(request))


def _is_news(job: Job | None) -> bool:
    """Whether the video may have been published between the look at its row and the look at its job."""
    return job is None or job.state == "SUCCESS"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))
