"""A report is read from the stored sums of all files."""

from datetime import datetime, timezone
from decimal import Decimal

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from loja.reports import report
from loja.reports.report import ReportType, Row
from loja.sales.datasets import Source, replace
from loja.sales.sale import Sale
from loja.sales.summary import Summary

SALES = {
    "a.csv": [("2025-01", "sul", "Livro", 2, "20"), ("2025-02", "norte", "Livro", 1, "10")],
    "b.csv": [("2025-01", "sul", "Pão", 5, "5.50")],
}


@pytest.fixture
def sales(shop_engine: Engine) -> Session:
    session = Session(shop_engine)
    for name, sales in SALES.items():
        summary = Summary(",", "utf-8", rows=len(sales))
        for month, region, product, quantity, amount in sales:
            summary.totals.add(Sale(month, region, product, quantity, Decimal(amount)))
        replace(session, Source(name, "uploaded", "job", datetime.now(timezone.utc)), summary)
    return session


TOTAL = Row("Total", 3, 8, Decimal("35.50"))


@pytest.mark.parametrize(
    ("report_type", "rows"),
    [
        (ReportType.VENDAS, [Row("2025-01", 2, 7, Decimal("25.5")), Row("2025-02", 1, 1, Decimal(10))]),
        (ReportType.PRODUTOS, [Row("Livro", 2, 3, Decimal(30)), Row("Pão", 1, 5, Decimal("5.5"))]),
        (ReportType.REGIOES, [Row("sul", 2, 7, Decimal("25.5")), Row("norte", 1, 1, Decimal(10))]),
    ],
)
def test_rows_are_summed_over_all_files(sales: Session, report_type: ReportType, rows: list[Row]) -> None:
    with sales:
        found = report.read(sales, report_type)
    assert list(found.rows) == rows
    assert (found.total, found.groups) == (TOTAL, 2)


def test_what_is_beyond_the_bound_is_in_the_total(sales: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_ROWS", 1)
    with sales:
        found = report.read(sales, ReportType.PRODUTOS)
    assert [row.label for row in found.rows] == ["Livro"]
    assert (found.total, found.groups) == (TOTAL, 2)


def test_without_files_there_are_no_rows(shop_engine: Engine) -> None:
    with Session(shop_engine) as session:
        found = report.read(session, ReportType.VENDAS)
    assert (found.rows, found.groups, found.total.sales) == ((), 0, 0)
