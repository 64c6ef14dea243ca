"""A video stands as its job does."""

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from loja.videos.video import Status, Video, standing

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def job(state: str, error: str | None = None) -> Any:
    return SimpleNamespace(
        state=state, error=error, progress={"percent": 50}, finished=state in {"SUCCESS", "FAILURE", "REVOKED"}
    )


def video(published_at: datetime | None = None) -> Video:
    return Video(uuid4(), "Holidays", "holidays.mov", 10, NOW, published_at)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PENDING", Status.PROCESSING),
        ("STARTED", Status.PROCESSING),
        ("PROCESSING", Status.PROCESSING),
        ("RETRY", Status.PROCESSING),
        ("FAILURE", Status.FAILED),
        ("SUCCESS", Status.FAILED),
        ("REVOKED", Status.CANCELLED),
    ],
)
def test_an_unpublished_video_stands_as_its_job_does(state: str, status: Status) -> None:
    stands = standing(video(), job(state, "why"))
    assert (stands.status, stands.error) == (status, "why")
    assert (stands.progress is not None) == (status is Status.PROCESSING)


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "PROCESSING", None])
def test_a_published_video_stays_published(state: str | None) -> None:
    assert standing(video(NOW), job(state) if state else None).status is Status.PUBLISHED


def test_a_video_whose_job_is_not_kept_any_more_is_not_processing_for_ever() -> None:
    stands = standing(video(), None)
    assert (stands.status, bool(stands.error)) == (Status.FAILED, True)
