"""The jobs of the sales."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loja.app import app
from loja.sales import datasets, files, results, uploads
from loja.sales.datasets import Source
from loja.sales.files import SalesFile
from loja.sales.summary import summarise
from loja.settings import ShopSettings
from trilho import Tx

DEFAULT_ROWS = 10_000


class ProvokedFailure(RuntimeError):
    """An attempt that failed on purpose, so that retries can be seen; LOJA_FAILURE_RATE says how many do."""


@app.task(
    transactional=True,
    autoretry_for=(ProvokedFailure, OSError),
    max_retries=5,
    retry_backoff=2,
    retry_backoff_max=60,
    retry_jitter=True,
    resultrepr_maxsize=80,  # of the result, in the worker's log
)
def process_csv(filename: str, num_rows: int = DEFAULT_ROWS, upload: str | None = None, *, tx: Tx) -> dict[str, Any]:
    """Sum one sales file and make it the data set of its name; raises SalesFileError for a file that cannot be used.

    `upload` is the id under which the file was received: the job's own, if its request has sent one.
    """
    settings = ShopSettings()
    _provoke(settings.failure_rate)
    job = app.jobs.get(process_csv.request.id)
    with _opened(settings.folder(app.settings.data), filename, num_rows, upload) as file:
        summary = summarise(file, app.progress)
        source = Source(file.name, file.origin, job.id, job.created_at)
    # The transaction begins here, at the first use of `tx`: reading the file takes as long as it takes.
    stored = datasets.replace(tx.session, source, summary)
    return results.of_file(source, summary, stored)


@app.task(autoretry_for=(OSError,), max_retries=5, retry_backoff=1)
def aggregate(region: str, month: str) -> dict[str, Any]:
    """Totals, count, mean ticket and top products of one region in one month, from the data sets of all files."""
    with app.transaction() as tx:
        return results.of_aggregate(region, month, datasets.ask(tx.session, region, month))


@contextmanager
def _opened(folder: Path, filename: str, num_rows: int, upload: str | None) -> Iterator[SalesFile]:
    if upload is None:
        with files.opened(folder, filename, num_rows, app.progress) as file:
            yield file
        return
    with files.sent(folder, filename, upload) as file:
        # Again here: the API may have been killed between the commit and this.
        uploads.publish(folder, file.name, upload, app.jobs.get(upload).created_at)
        yield file


def _provoke(rate: float) -> None:
    if random.random() < rate:  # noqa: S311 - not a secret
        raise ProvokedFailure(f"this attempt failed on purpose, as {rate:.0%} do (LOJA_FAILURE_RATE)")
