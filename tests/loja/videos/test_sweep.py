"""What is left behind goes; what a job needs stays."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from loja.videos.shelf import Shelf
from loja.videos.sweep import MOST, sweep

NOW = datetime.now(timezone.utc)
YOUNG = timedelta(minutes=10)
OLD = timedelta(minutes=70)


def job(state: str, ended: timedelta = YOUNG) -> Any:
    finished = state in {"SUCCESS", "FAILURE", "REVOKED"}
    return SimpleNamespace(state=state, finished=finished, finished_at=NOW - ended if finished else None)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "videos", tmp_path / "cdn" / "videos")
    shelf.uploads.mkdir(parents=True)
    shelf.unfinished.mkdir(parents=True)
    return shelf


def touched(path: Path, age: timedelta) -> Path:
    os.utime(path, ((NOW - age).timestamp(),) * 2)
    return path


def upload(shelf: Shelf, video: UUID, age: timedelta = OLD) -> Path:
    shelf.upload(video).write_bytes(b"upload")
    return touched(shelf.upload(video), age)


def work(shelf: Shelf, video: UUID, age: timedelta = YOUNG) -> Path:
    folder = shelf.unfinished / f"{video}-abc"
    folder.mkdir()
    (folder / "video.mp4").write_bytes(b"half")
    return touched(folder, age)


def swept(shelf: Shelf, **jobs: Any) -> Callable[[UUID], Any]:
    asked = []

    def job_of(video: UUID) -> Any:
        asked.append(video)
        return jobs.get(str(video))

    sweep(shelf, job_of, NOW)
    return lambda: asked


@pytest.mark.parametrize(
    ("known", "age", "stays"),
    [
        (job("PENDING"), OLD, True),
        (job("PROCESSING"), OLD, True),
        (job("RETRY"), OLD, True),
        (job("FAILURE"), OLD, True),
        (job("FAILURE", OLD), OLD, False),
        (job("REVOKED", OLD), OLD, False),
        (job("SUCCESS"), OLD, False),
        (None, YOUNG, True),
        (None, OLD, False),
    ],
)
def test_an_upload_stays_while_its_job_may_need_it(shelf: Shelf, known: Any, age: timedelta, stays: bool) -> None:
    video = uuid4()
    path = upload(shelf, video, age)
    swept(shelf, **{str(video): known})
    assert path.exists() == stays


@pytest.mark.parametrize(
    ("known", "age", "stays"),
    [
        (job("PROCESSING"), YOUNG, True),
        (job("RETRY"), OLD, True),
        (job("FAILURE"), YOUNG, False),
        (job("REVOKED"), YOUNG, False),
        (job("SUCCESS"), YOUNG, False),
        (None, YOUNG, True),
        (None, OLD, False),
    ],
)
def test_the_folder_of_an_attempt_stays_while_its_job_runs(
    shelf: Shelf, known: Any, age: timedelta, stays: bool
) -> None:
    video = uuid4()
    path = work(shelf, video, age)
    swept(shelf, **{str(video): known})
    assert path.exists() == stays


@pytest.mark.parametrize(("state", "stay"), [("SUCCESS", True), ("FAILURE", False), ("REVOKED", False)])
def test_files_that_were_published_without_a_commit_go_with_their_upload(shelf: Shelf, state: str, stay: bool) -> None:
    video = uuid4()
    upload(shelf, video)
    for path in (shelf.video(video), shelf.thumbnail(video)):
        path.write_bytes(b"published")
    swept(shelf, **{str(video): job(state, OLD)})
    assert [shelf.video(video).exists(), shelf.thumbnail(video).exists()] == [stay, stay]
    assert not shelf.upload(video).exists()


def test_an_upload_that_is_coming_in_and_files_of_others_stay(shelf: Shelf) -> None:
    others = [shelf.uploads / name for name in (".upload-x1", "README")]
    for path in others:
        path.touch()
        touched(path, OLD)
    swept(shelf)
    assert all(path.exists() for path in others)


def test_a_sweep_looks_at_no_more_than_so_many_leftovers(shelf: Shelf) -> None:
    for _ in range(MOST + 20):
        upload(shelf, uuid4())
    assert len(swept(shelf)()) == MOST
    assert len(list(shelf.uploads.iterdir())) == 20


def test_an_attempt_takes_the_folders_of_former_ones_away(shelf: Shelf) -> None:
    video, other = uuid4(), uuid4()
    former, foreign = work(shelf, video), work(shelf, other)
    with shelf.workspace(video) as folder:
        assert not former.exists()
        (folder / "video.mp4").write_bytes(b"half")
    assert not folder.exists()
    assert foreign.exists()


def test_there_may_be_nothing_to_sweep(tmp_path: Path) -> None:
    swept(Shelf(tmp_path / "none", tmp_path / "none"))
