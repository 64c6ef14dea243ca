"""Routes of the sales."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from loja.app import app
from loja.sales import intake, uploads
from loja.sales.sale import Region
from loja.sales.schemas import AggregateAccepted, CsvAccepted, Filename, Month, NumRows, UploadAccepted
from loja.sales.tasks import DEFAULT_ROWS, aggregate, process_csv
from loja.settings import ShopSettings
from trilho.http import accepted, documented, form_body, form_limit, receive_upload

router = APIRouter(tags=["sales"])


@router.post("/process-csv", status_code=202, summary="Process a sales file", responses=documented(202, 413, 422, 503))
def post_process_csv(
    request: Request, response: Response, filename: Filename, num_rows: NumRows = DEFAULT_ROWS
) -> CsvAccepted:
    """Reads the file row by row, sums it per region, month and product, and makes it the data set of its name.

    If nobody uploaded a file of this name, one with `num_rows` rows is made up first. Rows that are no sales are
    counted with reason and line. The data set of the job created last wins, whichever finishes last.
    """
    job = process_csv.delay(filename, num_rows)
    return accepted(request, response, CsvAccepted, job.id, filename=filename, num_rows=num_rows)


@router.post(
    "/uploads",
    status_code=202,
    summary="Upload a sales file",
    responses=documented(202, 413, 422, 503),
    openapi_extra=form_body("file", min_size=1),
)
async def post_uploads(request: Request, response: Response, later: BackgroundTasks) -> UploadAccepted:
    """Takes a CSV file as the field `file` of a multipart form, and processes it as `/process-csv` does.

    Columns may be separated by comma, semicolon or tab, and the text be UTF-8 or Latin-1: both are found out. From then
    on `/process-csv` reads this file, if it is given its name.
    """
    settings = ShopSettings()
    folder = settings.folder(app.settings.data)
    upload = await receive_upload(request, "file", uploads.received(folder), limit=settings.max_upload)
    task_id, name = await run_in_threadpool(intake.take, folder, upload)
    later.add_task(uploads.sweep, folder, intake.needed)
    return accepted(request, response, UploadAccepted, task_id, filename=name, size=upload.size)


def upload_limit() -> int:
    """Bytes that the body of an upload may have."""
    return form_limit(ShopSettings().max_upload)


@router.post("/aggregate", status_code=202, summary="Ask all processed files", responses=documented(202, 413, 422, 503))
def post_aggregate(
    request: Request, response: Response, region: Annotated[Region, Query(examples=["sudeste"])], month: Month
) -> AggregateAccepted:
    """The result of the job has total, count, mean ticket and top products of one region in one month.

    A month without data has count 0.
    """
    job = aggregate.delay(region.value, month)
    return accepted(request, response, AggregateAccepted, job.id, region=region.value, month=month)
