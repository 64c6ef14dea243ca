"""Routes of the sales."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from loja.sales.sale import Region
from loja.sales.schemas import AggregateAccepted, CsvAccepted, Filename, Month, NumRows
from loja.sales.tasks import DEFAULT_ROWS, aggregate, process_csv
from trilho.http import accepted, documented

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


@router.post("/aggregate", status_code=202, summary="Ask all processed files", responses=documented(202, 413, 422, 503))
def post_aggregate(
    request: Request, response: Response, region: Annotated[Region, Query(examples=["sudeste"])], month: Month
) -> AggregateAccepted:
    """The result of the job has total, count, mean ticket and top products of one region in one month.

    A month without data has count 0.
    """
    job = aggregate.delay(region.value, month)
    return accepted(request, response, AggregateAccepted, job.id, region=region.value, month=month)
