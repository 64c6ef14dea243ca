"""Removes what attempts and uploads have left behind that were ended too hard to do it themselves."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from loja.videos.shelf import Shelf
from trilho import Job

STALE = timedelta(hours=1)
"""An upload outlives a failed or cancelled job for so long, so that the job can be run again."""
MOST = 100
"""Leftovers that one sweep looks at, the oldest first; each costs one look at its job."""

JobOf = Callable[[UUID], Job | None]


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something with the name of a video, last written at `touched`; `work` is the folder of an attempt."""

    path: Path
    video: UUID
    touched: datetime
    work: bool


def sweep(shelf: Shelf, job_of: JobOf, now: datetime) -> None:
    """Remove what no job needs any more; cheap, so that every job can do it."""
    # Nothing of ours has files in `published` alone: what was renamed there without a commit still has its upload.
    found = [*_work(shelf), *(upload for upload in _uploads(shelf) if upload.touched < now - STALE)]
    for leftover in sorted(found, key=lambda each: each.touched)[:MOST]:
        job = job_of(leftover.video)
        if is_needed(leftover, job, now):
            continue
        if not leftover.work and job is not None and job.state != "SUCCESS":
            _remove(shelf.video(leftover.video))
            _remove(shelf.thumbnail(leftover.video))
        _remove(leftover.path)  # last: it is what leads to the others


def is_needed(leftover: Leftover, job: Job | None, now: datetime) -> bool:
    """Whether a job may still want it; a video that is being uploaded, or was stored a moment ago, has no job yet."""
    if job is None:
        return leftover.touched >= now - STALE
    if leftover.work or job.state == "SUCCESS":
        return not job.finished
    return job.finished_at is None or job.finished_at >= now - STALE


def _work(shelf: Shelf) -> Iterator[Leftover]:
    for path in _listed(shelf.unfinished):
        with suppress(ValueError, FileNotFoundError):
            yield Leftover(path, UUID(path.name[:36]), _touched(path), work=True)


def _uploads(shelf: Shelf) -> Iterator[Leftover]:
    for path in _listed(shelf.uploads):
        with suppress(ValueError, FileNotFoundError):
            yield Leftover(path, UUID(path.name), _touched(path), work=False)


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _touched(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
