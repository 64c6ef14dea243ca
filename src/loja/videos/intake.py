"""An upload becomes a video: its file, its row and its job."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import UUID

import psycopg
import sqlalchemy.exc
from uuid_utils.compat import uuid7

from loja.app import app
from loja.videos import catalogue
from loja.videos.shelf import Shelf, put
from loja.videos.tasks import process_video
from loja.videos.video import Video
from trilho.http import Upload

MAX_TITLE = 200

_UNCERTAIN = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
)
"""A connection that broke under a commit tells nothing about it: if the job is there, it needs the file."""


def take_in(upload: Upload, title: str, shelf: Shelf) -> Video:
    """Store the video and its job in one commit, with the file in place before it; the sweep finds what is left."""
    key: UUID = uuid7()
    source = shelf.upload(key)
    with _removed_on_error(upload.path):
        put(upload.path, source)
    with _removed_on_error(source, but=_UNCERTAIN), app.transaction() as tx, _removed_on_error(source):
        video = catalogue.add(tx.session, key, title, shown(upload.filename), upload.size)
        process_video.apply_async((str(key),), task_id=str(key))
    return video


@contextmanager
def _removed_on_error(path: Path, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except but:
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def shown(text: str) -> str:
    """A text of a stranger on one line, without what cannot be printed or stored."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    return " ".join(plain.split())[:MAX_TITLE]


def title_of(given: str, filename: str) -> str:
    """The title that was given, or else the name of the file without folders and extension."""
    return shown(given) or shown(PurePosixPath(filename.replace("\\", "/")).stem) or "untitled"
