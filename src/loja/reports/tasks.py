"""The job that sends a report."""

from typing import Any

from loja.app import app
from loja.mail.message import Attachment, Letter, Person
from loja.mail.sender import mail_task, send
from loja.reports import render
from loja.reports.report import Report, ReportType, read

STEPS = 3


@mail_task
def send_report(email: str, report_type: str) -> dict[str, Any]:
    """Build a report from the stored sales and send it; raises MailError."""
    app.progress(0, STEPS, "reading the stored sales")
    with app.transaction() as tx:
        report = read(tx.session, ReportType(report_type))
    app.progress(1, STEPS, f"building the report of {report.groups:,} rows")
    letter = letter_of(report, email)
    app.progress(2, STEPS, f"sending it to {email}")
    sent = send(letter, send_report.request.id)
    return {"report_type": report_type, "rows": len(report.rows), **sent}


def letter_of(report: Report, email: str) -> Letter:
    """The report as a mail: text, HTML and a CSV file."""
    attachment = Attachment(f"{report.type}.csv", "text/csv", render.as_csv(report))
    subject = f"{report.title}: {report.total.sales:,} sales"
    return Letter(Person(email), subject, render.as_text(report), render.as_html(report), (attachment,))
