"""What a report says: one row for each month, product or region, from the stored sums of all processed files."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from loja.sales.tables import sales_totals

MAX_ROWS = 10_000
"""Rows of one report; a product list beyond it would make a mail that no server takes."""


class ReportType(StrEnum):
    """What the sales are summed by."""

    VENDAS = "vendas"  # months
    PRODUTOS = "produtos"
    REGIOES = "regioes"


@dataclass(frozen=True, slots=True)
class Row:
    """The sales of one month, product or region."""

    label: str
    sales: int
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Report:
    """The rows and their sums; `groups` is how many rows there would be without the bound."""

    type: ReportType
    rows: tuple[Row, ...]
    total: Row
    groups: int

    @property
    def title(self) -> str:
        """Its heading."""
        return f"Sales by {self.of_what}"

    @property
    def of_what(self) -> str:
        """What a row is about."""
        return _OF_WHAT[self.type]


_OF_WHAT = {ReportType.VENDAS: "month", ReportType.PRODUTOS: "product", ReportType.REGIOES: "region"}


def read(session: Session, report_type: ReportType) -> Report:
    """The report as of now: months in order of time, products and regions by amount, the largest first."""
    label = sales_totals.c[_OF_WHAT[report_type]]
    sums = [func.sum(sales_totals.c[name]) for name in ("sales", "quantity", "amount")]
    order: list[ColumnElement[object]] = [label] if report_type is ReportType.VENDAS else [sums[2].desc(), label]
    # The windows span all groups, also those that the limit leaves out; one statement sees one state of the data.
    whole = [func.sum(one).over() for one in sums]
    statement = select(label, *sums, *whole, func.count().over()).group_by(label).order_by(*order).limit(MAX_ROWS)
    found = session.execute(statement).all()
    rows = tuple(_row(*row[:4]) for row in found)
    total, groups = (_row("Total", *found[0][4:7]), int(found[0][7])) if found else (_row("Total", 0, 0, 0), 0)
    return Report(report_type, rows, total, groups)


def _row(label: str, sales: int | Decimal, quantity: int | Decimal, amount: int | Decimal) -> Row:
    return Row(label, int(sales), int(quantity), Decimal(amount))
