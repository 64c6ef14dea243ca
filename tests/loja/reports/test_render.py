"""How a report looks in each of its forms."""

import csv
import io
import re
from decimal import Decimal

import pytest

from loja.reports.render import NOTHING, SHOWN, as_csv, as_html, as_text
from loja.reports.report import Report, ReportType, Row

MONTHS = tuple(Row(f"{2020 + n // 12}-{n % 12 + 1:02}", n + 1, 2 * n + 2, Decimal(100 * (n + 1))) for n in range(36))


def report(report_type: ReportType, *rows: Row) -> Report:
    total = Row(
        "Total",
        sum(row.sales for row in rows),
        sum(row.quantity for row in rows),
        sum((row.amount for row in rows), Decimal()),
    )
    return Report(report_type, rows, total, len(rows))


def bars(html: str) -> list[int]:
    return [int(width) for width in re.findall(r'width="(\d+)%" bgcolor', html)]


def test_bars_are_as_long_as_their_amounts() -> None:
    rows = [Row(name, 1, 1, Decimal(amount)) for name, amount in (("a", 200), ("b", 50), ("c", "0.01"))]
    html = as_html(report(ReportType.PRODUTOS, *rows))
    assert bars(html) == [100, 25, 1]
    assert "<script" not in html
    assert "http" not in html, "a mail that fetches nothing"


def test_the_latest_months_are_shown_and_the_file_has_all() -> None:
    whole = report(ReportType.VENDAS, *MONTHS)
    for text in (as_text(whole), as_html(whole)):
        assert "2022-12" in text
        assert "2020-12" not in text
        assert f"{SHOWN} of 36 rows are shown; 36 are in the attached file." in text
        assert "66,600.00" in text, "the total is that of all months"
    assert as_csv(whole).count(b"\r\n") == 37


def test_the_largest_products_are_shown() -> None:
    rows = [Row(f"p{n:02}", 1, 1, Decimal(100 - n)) for n in range(30)]
    text = as_text(report(ReportType.PRODUTOS, *rows))
    assert "p00" in text
    assert "p29" not in text


def test_without_data_all_forms_say_so() -> None:
    nothing = report(ReportType.REGIOES)
    assert NOTHING in as_text(nothing)
    assert NOTHING in as_html(nothing)
    assert as_csv(nothing).decode("utf-8-sig") == "region,sales,quantity,amount\r\n"


def test_a_product_cannot_bring_markup_into_the_mail() -> None:
    html = as_html(report(ReportType.PRODUTOS, Row("<script>alert(1)</script>", 1, 1, Decimal(1))))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)"])
def test_a_product_cannot_be_a_formula_in_a_spreadsheet(name: str) -> None:
    table = list(csv.reader(io.StringIO(as_csv(report(ReportType.PRODUTOS, Row(name, 1, 1, Decimal(1)))).decode())))
    assert table[1][0] == f"'{name}"


def test_all_zero_amounts_draw_something() -> None:
    assert as_html(report(ReportType.REGIOES, Row("sul", 0, 0, Decimal()))).count("bgcolor") == 1
