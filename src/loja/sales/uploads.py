"""Files that users sent: each kept under the id of its job, and shown under its name in `uploads/`.

A job reads the content that its own request has sent, whatever was uploaded under the same name meanwhile.
"""

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

STALE_AFTER = 3600.0
SWEPT = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def received(folder: Path) -> Path:
    """Where contents lie, finished ones and those that still arrive."""
    return folder / "received"


def content(folder: Path, job_id: str) -> Path:
    """The content that a job was given; raises ValueError for what is no id of ours."""
    return received(folder) / f"{UUID(job_id)}.csv"


def keep(draft: Path, folder: Path, job_id: str) -> None:
    """Give a file that has arrived to a job; from here on it survives a power cut."""
    draft.replace(content(folder, job_id))
    with _opened(received(folder)) as handle:
        os.fsync(handle)


def publish(folder: Path, name: str, job_id: str, created_at: datetime) -> None:
    """Make a job's content the file of this name, unless that of a job created later is.

    Its time of modification is the time of its job: the order of creation decides, as it does for data sets.
    """
    source, shown = content(folder, job_id), folder / "uploads"
    created = (created_at - _EPOCH) // timedelta(microseconds=1) * 1000
    shown.mkdir(parents=True, exist_ok=True)
    with _opened(shown) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _modified(shown / name) >= created:
            return
        os.utime(source, ns=(created, created))
        link = shown / f".link-{job_id}"
        link.unlink(missing_ok=True)
        link.hardlink_to(source)
        link.replace(shown / name)
        os.fsync(handle)


def sweep(folder: Path, needed: Callable[[str], bool]) -> None:
    """Remove contents that no job needs any more. Looks at a few only, and at other ones each time."""
    paths = list(received(folder).glob("*.csv"))
    for path in random.sample(paths, min(SWEPT, len(paths))):
        with suppress(FileNotFoundError):
            # A job that is not there yet may still come: its commit is under way.
            if path.stat().st_mtime < time.time() - STALE_AFTER and not needed(path.stem):
                path.unlink()


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)
