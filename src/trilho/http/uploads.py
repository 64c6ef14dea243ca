"""One uploaded file, streamed from the request to the disk."""

import errno
import os
import tempfile
import time
from collections.abc import Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from trilho.http.forms import MAX_FIELD, OVERHEAD, FileForm, FormError

UNFINISHED = ".upload-"
STALE_AFTER = 3600.0

_BATCH = 1 << 20
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived whole and is safe from a power cut; whoever gets it moves or removes `path`.

    `filename` is what the client called it: never a path to write to before it was checked.
    """

    path: Path
    filename: str
    size: int
    fields: dict[str, str]


async def receive_upload(
    request: Request, field: str, folder: Path, *, limit: int, fields: Collection[str] = ()
) -> Upload:
    """Stream the file in `field` of a multipart form into a temporary file in `folder`; `fields` are texts beside it.

    `limit` is in bytes of the file. Raises HTTPException 413 above it, RequestValidationError (422) for anything but
    such a form, HTTPException 507 when the disk is full. Nothing is left in `folder` when it raises.
    """
    bound = form_limit(limit, len(fields))
    if _announced(request) > bound:
        raise _too_large(limit)
    form = _form(request, field, fields)
    await to_thread.run_sync(_prepare, folder)
    draft = _Draft(folder, limit)
    try:
        texts = await _receive(request, form, draft, bound)
        await to_thread.run_sync(draft.finish)
    except BaseException as error:
        draft.discard()
        if answer := _answer(error):
            raise answer from error
        raise
    return Upload(draft.path, form.filename, draft.size, texts)


def form_limit(limit: int, fields: int = 0) -> int:
    """Bytes of the body of a form whose file has at most `limit`: what `install(body_limits=)` takes for its path."""
    return limit + OVERHEAD + fields * MAX_FIELD


def form_body(field: str, *fields: str, min_size: int = 0) -> dict[str, Any]:
    """The `openapi_extra=` of a route that calls `receive_upload`; `min_size` is of the file, in bytes."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in fields}
    properties[field] = {"type": "string", "format": "binary"} | ({"minLength": min_size} if min_size else {})
    schema = {"type": "object", "required": [field], "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class _Draft:
    """The temporary file. Buffered, for its lock: a write that a thread still does is over before `discard` closes."""

    def __init__(self, folder: Path, limit: int) -> None:
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
        os.fchmod(handle, 0o644)
        self._stream = os.fdopen(handle, "wb")
        self._limit = limit
        self.path = Path(name)
        self.size = 0

    def write(self, pieces: list[bytes]) -> None:
        self.size += sum(map(len, pieces))
        if self.size > self._limit:
            raise _too_large(self._limit)
        self._stream.writelines(pieces)

    def finish(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def discard(self) -> None:
        with suppress(OSError):  # what is buffered may find no room on the disk either
            self._stream.close()
        self.path.unlink(missing_ok=True)


def _form(request: Request, field: str, fields: Collection[str]) -> FileForm:
    try:
        return FileForm(request.headers.get("content-type", ""), field, fields)
    except FormError as wrong:
        raise _unusable(wrong) from None


async def _receive(request: Request, form: FileForm, draft: _Draft, bound: int) -> dict[str, str]:
    pieces: list[bytes] = []
    received = written = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if received > bound:
                raise _too_large(bound)
            pieces += form.feed(chunk)
            if received - written >= _BATCH:  # one hand-over to a thread for each batch, not for each packet
                await to_thread.run_sync(draft.write, pieces)
                pieces, written = [], received
    await to_thread.run_sync(draft.write, pieces)
    return form.finish()


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _prepare(folder: Path) -> None:
    """Make the folder, and remove what killed servers left in it; what still grows is younger."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - STALE_AFTER:
                path.unlink()


def _answer(error: BaseException) -> Exception | None:
    """What to say instead of this error."""
    if isinstance(error, FormError):
        return _unusable(error)
    if isinstance(error, ClientDisconnect):
        return HTTPException(400, "the client went away before the body ended")
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return HTTPException(507, "the disk of the server is full")
    return None


def _unusable(wrong: FormError) -> RequestValidationError:
    return RequestValidationError([{"type": "form", "loc": ("body", wrong.field), "msg": str(wrong), "input": None}])


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the upload may have at most {limit:,} bytes", headers={"Connection": "close"})
