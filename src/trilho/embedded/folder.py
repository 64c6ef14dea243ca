"""A data folder: who owns it, and who can reach it."""

import fcntl
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE = 0.05


class FolderLock:
    """An exclusive lock on a folder that the kernel drops when its holder dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """False if another living process (or another object of this one) holds it."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let others have the folder; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def held(self) -> bool:
        """Whether some living process holds it, asked without keeping anybody out."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> str:
        """The pid that the last holder wrote, for messages."""
        with suppress(OSError):
            return self.path.read_text().strip() or "unknown"
        return "unknown"


def _locked(descriptor: int) -> bool:
    # Several attempts: `held` of another process has a shared lock for an instant.
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def make_reachable(path: Path, ours: Path | None = None) -> None:
    """Let other users pass through (not list) the parents of `path`, which a server under another user needs.

    Every folder that this opens is named in a warning, but for those from `ours` on downwards.
    """
    for parent in path.resolve().parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
            if ours is None or not parent.is_relative_to(ours.resolve()):
                log.warning("other users may pass through %s from now on: PostgreSQL cannot run as root", parent)
