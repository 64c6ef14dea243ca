"""A report as text, as HTML with a chart, and as CSV."""

import csv
import io
from decimal import Decimal
from html import escape

from loja.reports.report import Report, ReportType, Row

SHOWN = 24
"""Rows in the mail itself; the attached file has all of them."""
NOTHING = "No sales file has been processed yet, so there is nothing to report."

_COLOUR = "#2a6fdb"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family:Arial,Helvetica,sans-serif;color:#222">
<h1 style="font-size:20px">{title}</h1>
{body}
</body>
</html>
"""
_CELL = '<td style="padding:3px 12px 3px 0" align="{align}">{text}</td>'
_BAR = (
    '<td width="320"><table role="presentation" width="320" cellpadding="0" cellspacing="0"><tr>'
    f'<td width="{{filled}}%" bgcolor="{_COLOUR}" style="background:{_COLOUR};font-size:12px">&nbsp;</td>'
    "{rest}</tr></table></td>"
)
_REST = '<td width="{empty}%" style="font-size:12px">&nbsp;</td>'


def as_text(report: Report) -> str:
    """For readers without HTML."""
    if not report.rows:
        return f"{report.title}\n\n{NOTHING}\n"
    shown = shown_rows(report)
    width = max(len(row.label) for row in (*shown, report.total))
    lines = [f"{row.label:<{width}}  {row.sales:>12,}  {_money(row.amount):>18}" for row in (*shown, report.total)]
    head = f"{report.of_what.capitalize():<{width}}  {'Sales':>12}  {'Amount':>18}"
    return "\n".join([report.title, "", head, *lines, "", note_of(report), ""])


def as_html(report: Report) -> str:
    """With a chart made of table cells: every mail program shows those, few show scripts or drawings."""
    if not report.rows:
        return _PAGE.format(title=escape(report.title), body=f"<p>{NOTHING}</p>")
    shown = shown_rows(report)
    largest = max(row.amount for row in shown)
    rows = "\n".join(_html_row(row, largest) for row in shown)
    head = "".join(f'<th align="left">{name}</th>' for name in (report.of_what.capitalize(), "Sales", "Amount", ""))
    table = f'<table cellpadding="0" cellspacing="0"><tr>{head}</tr>\n{rows}\n{_html_total(report.total)}</table>'
    return _PAGE.format(title=escape(report.title), body=f"{table}\n<p>{escape(note_of(report))}</p>")


def as_csv(report: Report) -> bytes:
    """All rows, in UTF-8 with the mark by which spreadsheet programs know it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([report.of_what, "sales", "quantity", "amount"])
    for row in report.rows:
        writer.writerow([_inert(row.label), row.sales, row.quantity, f"{row.amount:.2f}"])
    return text.getvalue().encode("utf-8-sig")


def shown_rows(report: Report) -> tuple[Row, ...]:
    """The latest months, or the largest of the others."""
    return report.rows[-SHOWN:] if report.type is ReportType.VENDAS else report.rows[:SHOWN]


def note_of(report: Report) -> str:
    """What the reader does not see here."""
    shown, attached = len(shown_rows(report)), len(report.rows)
    here = f"{shown:,} of {report.groups:,} rows are shown" if shown < report.groups else "All rows are shown"
    return f"{here}; {attached:,} are in the attached file."


def _html_row(row: Row, largest: Decimal) -> str:
    filled = max(1, round(100 * row.amount / largest)) if largest else 1
    rest = _REST.format(empty=100 - filled) if filled < 100 else ""
    return f"<tr>{_cells(row)}{_BAR.format(filled=filled, rest=rest)}</tr>"


def _html_total(row: Row) -> str:
    return f'<tr style="font-weight:bold">{_cells(row)}<td></td></tr>'


def _cells(row: Row) -> str:
    label = _CELL.format(align="left", text=escape(row.label))
    return label + "".join(_CELL.format(align="right", text=text) for text in (f"{row.sales:,}", _money(row.amount)))


def _money(amount: Decimal) -> str:
    return f"R$ {amount:,.2f}"


def _inert(label: str) -> str:
    """A text that no spreadsheet program takes for a formula: the names come from files that anybody may send."""
    return f"'{label}" if label.startswith(_FORMULA) else label
