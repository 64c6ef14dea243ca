"""Where sales files lie: what users sent in `received/` and, by name, in `uploads/`; the made up in `generated/`."""

import os
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loja.sales import generator, uploads
from loja.sales.encoding import Survey, survey
from loja.sales.errors import UploadGone

MAX_NAME = 60
MAX_BYTES = 240
NAME_PATTERN = r"^[\p{L}\p{N}_][\p{L}\p{M}\p{N}_ .,+()-]*$"
"""What `check_name` accepts, in the words of JSON Schema; Python's `re` does not know these classes."""
STALE_AFTER = 3600.0

_UNFINISHED = ".writing-"

Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class SalesFile:
    """An open file: whoever replaces or removes its name, this stream stays what it is."""

    name: str
    origin: str
    stream: BinaryIO
    survey: Survey


def check_name(name: str) -> str:
    """The name in Unicode's composed form; raises ValueError if it is not a plain file name."""
    if not name:
        raise ValueError("must not be empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"must not be longer than {MAX_NAME} characters, and has {len(name):,}")
    if "/" in name or "\\" in name:
        raise ValueError("must be a plain file name, without folders")
    plain = unicodedata.normalize("NFC", name)
    if not (_is(plain[0], "LN") and all(_is(mark, "LMN") or mark in " .,+()-" for mark in plain)):
        raise ValueError("must begin with a letter or digit; letters, digits, spaces and . , _ + ( ) - may follow")
    if len(plain.encode()) > MAX_BYTES:
        raise ValueError(f"must not take more than {MAX_BYTES} bytes in UTF-8")
    return plain


def _is(mark: str, categories: str) -> bool:
    return mark == "_" or unicodedata.category(mark)[0] in categories


@contextmanager
def opened(folder: Path, name: str, num_rows: int, report: Report) -> Iterator[SalesFile]:
    """The uploaded file of this name, or else the generated one, written first unless it has `num_rows` rows."""
    name = check_name(name)
    file = _shown(folder, name) or _generated(folder, name, num_rows) or _written(folder, name, num_rows, report)
    with file.stream:
        yield file


@contextmanager
def sent(folder: Path, name: str, job_id: str) -> Iterator[SalesFile]:
    """What the request for this job has sent, whatever has this name by now; raises UploadGone."""
    file = _existing(uploads.content(folder, job_id), check_name(name), "uploaded")
    if file is None:
        raise UploadGone(f"{name} is not in {uploads.received(folder)}: the API and its workers must share this folder")
    with file.stream:
        yield file


def _shown(folder: Path, name: str) -> SalesFile | None:
    return _existing(folder / "uploads" / name, name, "uploaded")


def _generated(folder: Path, name: str, num_rows: int) -> SalesFile | None:
    file = _existing(folder / "generated" / name, name, "generated")
    if file is None or file.survey.newlines == num_rows + 1:
        return file
    file.stream.close()
    return None


def _existing(path: Path, name: str, origin: str) -> SalesFile | None:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return None
    return SalesFile(name, origin, stream, survey(stream))


def _written(folder: Path, name: str, num_rows: int, report: Report) -> SalesFile:
    target = folder / "generated"
    target.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(target)
    # A name of its own for every attempt: two jobs, or an attempt and its own ghost, may write the same file at once.
    handle, path = tempfile.mkstemp(prefix=_UNFINISHED, dir=target)
    os.fchmod(handle, 0o644)
    stream = os.fdopen(handle, "w+b")
    try:
        for done, text in generator.batches(name, num_rows):
            stream.write(text.encode())
            report(0, num_rows, f"writing {name}: {done:,} of {num_rows:,} rows")
        stream.flush()
        Path(path).replace(target / name)
    except BaseException:
        stream.close()
        Path(path).unlink(missing_ok=True)
        raise
    stream.seek(0)
    return SalesFile(name, "generated", stream, survey(stream))


def _remove_unfinished(folder: Path) -> None:
    """What a killed attempt left behind; younger ones may still be written by another job."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        try:
            if path.stat().st_mtime < time.time() - STALE_AFTER:
                path.unlink()
        except FileNotFoundError:
            continue
