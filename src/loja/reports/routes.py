"""The route that has a report sent."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from loja.mail.address import EmailAddress
from loja.reports.report import ReportType
from loja.reports.tasks import send_report
from trilho.http import Accepted, accepted, documented

router = APIRouter(tags=["reports"])


class ReportAccepted(Accepted):
    """A report will be sent."""

    email: str
    report_type: ReportType


@router.post("/send-report", status_code=202, summary="Send a report by mail", responses=documented(202, 413, 422, 503))
def post_send_report(
    request: Request,
    response: Response,
    email: Annotated[EmailAddress, Query()],
    report_type: Annotated[ReportType, Query(description="What the sales are summed by: month, product, region.")] = (
        ReportType.VENDAS
    ),
) -> ReportAccepted:
    """The job builds the report from all processed files, with a chart and a CSV file, and sends it over SMTP.

    A mail that the server refuses for good (5xx) is not sent again; anything else is tried again with growing pauses.
    Mail accepted just before a crash may be sent twice, with the same `Message-ID`. Without a mail server of its own,
    the mail is at `/mail`.
    """
    job = send_report.delay(email, report_type.value)
    return accepted(request, response, ReportAccepted, job.id, email=email, report_type=report_type)
