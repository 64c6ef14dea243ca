"""How another shell steers the running stack: a file that the supervisor picks up.

A file and not a socket: the path of a UNIX socket must be shorter than a data folder may be.
"""

from contextlib import suppress
from pathlib import Path

from trilho.cli.stack import write_private

SCALE_FILE = "scale"


def request_workers(data: Path, count: int) -> None:
    """Ask for this many workers in total."""
    write_private(data / SCALE_FILE, str(count))


def take_workers(data: Path) -> int | None:
    """The number last asked for, once; None if nobody asked."""
    path = data / SCALE_FILE
    with suppress(OSError, ValueError):
        count = int(path.read_text())
        path.unlink()
        return count
    return None


def forget(data: Path) -> None:
    """Drop what was asked of an earlier stack."""
    (data / SCALE_FILE).unlink(missing_ok=True)


def pending(data: Path) -> bool:
    """Whether the supervisor has yet to see what was asked."""
    return (data / SCALE_FILE).exists()
