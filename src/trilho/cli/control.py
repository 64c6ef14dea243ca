"""How another shell steers the running stack: a file that the supervisor picks up.

A file and not a socket: the path of a UNIX socket must be shorter than a data folder may be.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trilho.cli.stack import write_private

SCALE_FILE = "scale"


def request(data: Path, counts: Mapping[str, int]) -> None:
    """Ask for so many processes of these kinds in total."""
    write_private(data / SCALE_FILE, json.dumps(dict(counts)))


def take(data: Path) -> dict[str, int]:
    """The numbers that were asked for last, once."""
    taken = data / f"{SCALE_FILE}.taken"
    with suppress(OSError, ValueError):
        (data / SCALE_FILE).replace(taken)  # first: what is asked for from now on is not deleted unread
        text = taken.read_text()
        taken.unlink()
        return dict(json.loads(text))
    return {}


def forget(data: Path) -> None:
    """Drop what was asked of an earlier stack."""
    (data / SCALE_FILE).unlink(missing_ok=True)


def pending(data: Path) -> bool:
    """Whether the supervisor has yet to see what was asked."""
    return (data / SCALE_FILE).exists()
