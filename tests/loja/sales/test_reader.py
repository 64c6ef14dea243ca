"""Files as streams of sales and rejects."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.sales.encoding import survey
from loja.sales.errors import EmptyFile, NotSales, SalesFileError
from loja.sales.reader import COLUMNS, Reject, SalesReader
from loja.sales.sale import Region, Sale

HEADER = ",".join(COLUMNS) + "\n"


def read(content: bytes) -> list[Sale | Reject]:
    stream = io.BytesIO(content)
    return list(SalesReader("vendas.csv", stream, survey(stream)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiter_encoding_and_line_ending_are_found_out(encoding: str, delimiter: str, ending: str) -> None:
    lines = (delimiter.join(COLUMNS), delimiter.join(("2025-04-01", "sul", "Pão", "2", "3.50")))
    rows = read("".join(line + ending for line in lines).encode(encoding))
    assert rows == [Sale("2025-04", "sul", "Pão", 2, Decimal("7.00"))]


def test_columns_are_found_by_name_in_any_order_and_in_portuguese() -> None:
    content = "Produto;Região;Data;Quantidade;Loja;Preço unitário\nPão;SUL;01/04/2025;2;centro;1.003,50\n"
    assert read(content.encode()) == [Sale("2025-04", "sul", "Pão", 2, Decimal("2007.00"))]


def test_rejects_carry_reason_and_line() -> None:
    content = HEADER + "2025-01-01,sul,Pão,1,2\n\n2025-01-01,sul,Pão\n2025-13-01,sul,Pão,1,2\n"
    assert read(content.encode())[1:] == [
        Reject(4, "wrong number of columns", "3 instead of 5"),
        Reject(5, "invalid date", "2025-13-01"),
    ]


def test_a_quoted_line_break_does_not_shift_line_numbers() -> None:
    content = HEADER + '2025-01-01,sul,"Pão\nde queijo",1,2\nx,sul,Pão,1,2\n'
    assert [row.line for row in read(content.encode()) if isinstance(row, Reject)] == [2, 4]


def test_reading_goes_on_after_a_broken_quote() -> None:
    content = HEADER + '2025-01-01,sul,"Pão"x,1,2\n2025-01-01,sul,Pão,1,2\n'
    rows = read(content.encode())
    assert [type(row) for row in rows] == [Reject, Sale]
    assert rows[0].reason == "unreadable"  # type: ignore[union-attr]


def test_a_quote_that_never_closes_ends_the_file_without_an_error() -> None:
    content = HEADER + '2025-01-01,sul,"Pão,1,2\n' + "2025-01-01,sul,Pão,1,2\n" * 10
    assert [row.reason for row in read(content.encode()) if isinstance(row, Reject)] == ["unreadable"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    with pytest.raises(EmptyFile):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"{}",
        b"\n\n\n",
        b"name,age\nAna,3\n",
        b"date region product quantity unit_price\n",
        b"x" * 1_000_000,
        HEADER.encode() + b"x" * 1_000_000,
        HEADER.encode("utf-8-sig") + b"\xe9\n",
    ],
)
def test_what_is_no_sales_csv_is_refused_with_a_short_text(content: bytes) -> None:
    with pytest.raises(NotSales, match=r"vendas\.csv") as refused:
        read(content)
    assert len(str(refused.value)) < 300


@given(st.binary(max_size=2000))
def test_any_bytes_give_rows_or_a_sales_file_error(content: bytes) -> None:
    for start in (b"", HEADER.encode()):
        try:
            read(start + content)
        except SalesFileError:
            continue


PRODUCT_NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
ROWS = st.tuples(
    st.dates().map(str),
    st.sampled_from(list(Region)),
    PRODUCT_NAMES,
    st.integers(1, 1_000_000).map(str),
    st.decimals("0.01", "999999999", places=2).map(str),
)


@given(st.lists(ROWS), st.sampled_from([",", ";", "\t"]))
def test_what_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, ...]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    expected = [(day[:7], region, product, int(count)) for day, region, product, count, _ in rows]
    assert [row[:4] for row in read(text.getvalue().encode())] == expected
