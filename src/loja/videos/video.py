"""One video, and how it stands: derived from its job, so that no end of a job leaves it `processing`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from trilho import Job


class Status(StrEnum):
    """What became of a video."""

    PROCESSING = "processing"
    PUBLISHED = "published"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Video:
    """One row; the last four are None until it is published."""

    id: UUID
    title: str
    filename: str
    size: int
    created_at: datetime
    published_at: datetime | None = None
    duration: float | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a video stands; `error` is why it failed, or why the last attempt did."""

    status: Status
    error: str | None = None
    progress: dict[str, Any] | None = None


def standing(video: Video, job: Job | None) -> Standing:
    """How the video stands; `job` is None where finished jobs of its age are not kept any more."""
    if video.published_at is not None:
        return Standing(Status.PUBLISHED)
    if job is None:
        return Standing(Status.FAILED, "its job ended without publishing it, and is not kept any more")
    if job.state == "REVOKED":
        return Standing(Status.CANCELLED, job.error)
    if job.finished:
        return Standing(Status.FAILED, job.error or "its job ended without publishing it")
    return Standing(Status.PROCESSING, job.error, job.progress)
