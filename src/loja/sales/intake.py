"""From an upload to its job: first the file, then the commit, then the name."""

from contextlib import suppress
from pathlib import Path

import psycopg
import uuid_utils
from fastapi.exceptions import RequestValidationError

from loja.app import app
from loja.sales import uploads
from loja.sales.files import check_name
from loja.sales.tasks import process_csv
from trilho import UnknownJob
from trilho.http import Upload


def take(folder: Path, upload: Upload) -> tuple[str, str]:
    """Store a file that has arrived and enqueue its job: the job's id and the checked name.

    Raises RequestValidationError for a file without content or with a name that cannot be used.
    """
    job_id = str(uuid_utils.uuid7())
    try:
        name = _checked(upload)
        uploads.keep(upload.path, folder, job_id)
    finally:
        upload.path.unlink(missing_ok=True)
    # When this raises, the commit may have happened all the same: its content stays until `sweep` can ask.
    process_csv.apply_async((name,), {"upload": job_id}, task_id=job_id)
    with suppress(psycopg.Error, OSError):  # the job is there; it does this otherwise
        uploads.publish(folder, name, job_id, app.jobs.get(job_id).created_at)
    return job_id, name


def needed(job_id: str) -> bool:
    """Whether a job may still read its content: until it was SUCCESS, a FAILURE can be run again."""
    try:
        return app.jobs.get(job_id).state != "SUCCESS"
    except UnknownJob:
        return False
    except psycopg.Error:
        return True


def _checked(upload: Upload) -> str:
    if not upload.size:
        raise _unusable("is empty: a header and at least one row are expected")
    try:
        return check_name(upload.filename)
    except ValueError as wrong:
        raise _unusable(f"its name {wrong}") from None


def _unusable(message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "upload", "loc": ("body", "file"), "msg": message, "input": None}])
