"""What the routes of videos answer."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from loja.videos.video import Standing, Status, Video
from trilho.http import Accepted

_EXAMPLE_ID = "019303f8-7c1e-7d1a-9f2b-0c9d6d3f9a11"


class VideoAccepted(Accepted):
    """A video was stored and will be published; `task_id` is the job that does it."""

    id: UUID = Field(examples=[_EXAMPLE_ID])
    status: str = Field(default=Status.PROCESSING.value, examples=["processing"])
    title: str = Field(examples=["Holidays"])
    url: str = Field(description="Path of `GET /videos/{id}`.", examples=[f"/videos/{_EXAMPLE_ID}"])


class VideoOut(BaseModel):
    """One video as it is now."""

    id: UUID = Field(examples=[_EXAMPLE_ID])
    title: str = Field(examples=["Holidays"])
    filename: str = Field(description="As the client called the upload.", examples=["holidays.mov"])
    size: int = Field(description="Bytes of the upload.", examples=[1048576])
    status: Status = Field(description="`failed` and `cancelled` can be run again: `POST /tasks/{task_id}/retry`.")
    progress: dict[str, Any] | None = Field(
        description="While it is encoded; `current` and `total` are milliseconds of video.",
        examples=[{"current": 4000, "total": 8000, "percent": 50.0, "message": "encoded 4.0 of 8.0 seconds"}],
    )
    error: str | None = Field(description="Why it failed, or why the last attempt did.")
    task_id: str = Field(description="The job that publishes it.", examples=[_EXAMPLE_ID])
    status_url: str = Field(description="Path of `GET /tasks/{task_id}`.", examples=[f"/tasks/{_EXAMPLE_ID}"])
    created_at: datetime
    published_at: datetime | None
    duration: float | None = Field(description="Seconds, once it is published.", examples=[8.0])
    width: int | None = Field(description="Of the published video, in pixels.", examples=[1280])
    height: int | None = Field(examples=[720])
    video_url: str | None = Field(
        description="Path of the published MP4 (H.264).", examples=[f"/cdn/videos/{_EXAMPLE_ID}.mp4"]
    )
    thumbnail_url: str | None = Field(
        description="Path of its picture, a JPEG.", examples=[f"/cdn/videos/{_EXAMPLE_ID}.jpg"]
    )

    @classmethod
    def of(cls, video: Video, stands: Standing, root: str) -> Self:
        """The public side of a video; `root` is the path under which the API is mounted."""
        published = stands.status is Status.PUBLISHED
        return cls(
            id=video.id,
            title=video.title,
            filename=video.filename,
            size=video.size,
            status=stands.status,
            progress=stands.progress,
            error=stands.error,
            task_id=str(video.id),
            status_url=f"{root}/tasks/{video.id}",
            created_at=video.created_at,
            published_at=video.published_at,
            duration=video.duration,
            width=video.width,
            height=video.height,
            video_url=f"{root}/cdn/videos/{video.id}.mp4" if published else None,
            thumbnail_url=f"{root}/cdn/videos/{video.id}.jpg" if published else None,
        )


class VideoPage(BaseModel):
    """One page of videos, newest first."""

    items: list[VideoOut]
    next_cursor: UUID | None = Field(description="`cursor` of the next page; null on the last one.")
