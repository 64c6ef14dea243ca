"""The job that publishes a video."""

from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import event
from sqlalchemy.orm import Session

from loja.app import app
from loja.settings import ShopSettings
from loja.videos import catalogue
from loja.videos.encoder import Encoder
from loja.videos.errors import EncoderBroke, Refused, TookTooLong, UploadGone
from loja.videos.film import Film
from loja.videos.shelf import Shelf, put
from loja.videos.sweep import sweep
from trilho import Job, Tx, UnknownJob

_LIMIT = ShopSettings().video_time_limit
_GRACE = 10.0
"""Seconds between the time limit that a body can tell of and the one that ends its process."""


@app.task(
    bind=True,
    transactional=True,
    max_retries=3,
    soft_time_limit=_LIMIT,
    time_limit=_LIMIT + _GRACE,
)
def process_video(self: Any, video_id: str, *, tx: Tx) -> dict[str, Any]:
    """Re-encode an upload to H.264, with a thumbnail, and publish both; raises VideoError if it cannot be."""
    video, settings = UUID(video_id), ShopSettings()
    shelf = Shelf.of(settings, app.settings.data)
    with suppress(OSError):  # a file that nobody can remove must not stop all videos
        sweep(shelf, job_of, datetime.now(timezone.utc))
    try:
        film = _publish_files(Encoder.of(settings), shelf, video)
    except SoftTimeLimitExceeded as error:
        raise TookTooLong("encoding took longer than LOJA_VIDEO_TIME_LIMIT allows") from error
    except Refused:
        shelf.upload(video).unlink(missing_ok=True)
        raise
    except (EncoderBroke, OSError) as error:
        raise self.retry(exc=error, countdown=60 * (2**self.request.retries)) from error
    # The transaction begins here, at the first use of `tx`: encoding takes as long as it takes.
    if not catalogue.publish(tx.session, video, film):
        raise UploadGone(f"there is no video {video}")
    event.listen(tx.session, "after_commit", partial(_forget, shelf.upload(video)))
    return {"video_id": str(video), "duration": film.seconds, "width": film.width, "height": film.height}


def job_of(video: UUID) -> Job | None:
    """The job that publishes this video; None if there is none, or none any more."""
    try:
        return app.jobs.get(str(video))
    except UnknownJob:
        return None


def _publish_files(encoder: Encoder, shelf: Shelf, video: UUID) -> Film:
    source = shelf.upload(video)
    if not source.exists():
        raise UploadGone("what was uploaded is not there any more: upload it again")
    with shelf.workspace(video) as folder:
        draft, picture = folder / "video.mp4", folder / "thumbnail.jpg"
        film = encoder.encode(source, draft, app.progress)
        encoder.thumbnail(draft, picture, film)
        put(picture, shelf.thumbnail(video))
        put(draft, shelf.video(video))
    return film


def _forget(upload: Path, session: Session) -> None:
    if session.in_nested_transaction():
        return
    with suppress(OSError):  # the sweep finds it again; what was committed must not fail for it
        upload.unlink(missing_ok=True)
