"""Rules of one row."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.sales.sale import Region, RowError, Sale, month_of, parse, price_of, quantity_of, region_of


def test_a_row_becomes_a_sale() -> None:
    sale = parse("2025-01-31", "Sudeste", " Café 500 g ", "3", "19.90")
    assert sale == Sale("2025-01", "sudeste", "Café 500 g", 3, Decimal("59.70"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("2025-02-30", "sul", "Livro", "1", "1"), "invalid date"),
        (("20250201", "sul", "Livro", "1", "1"), "invalid date"),
        (("", "sul", "Livro", "1", "1"), "invalid date"),
        (("2025-01-01", "atlantida", "Livro", "1", "1"), "unknown region"),
        (("2025-01-01", "sul", "  ", "1", "1"), "missing product"),
        (("2025-01-01", "sul", "a\x00b", "1", "1"), "invalid product"),
        (("2025-01-01", "sul", "x" * 201, "1", "1"), "invalid product"),
        (("2025-01-01", "sul", "Livro", "0", "1"), "invalid quantity"),
        (("2025-01-01", "sul", "Livro", "-1", "1"), "invalid quantity"),
        (("2025-01-01", "sul", "Livro", "1.5", "1"), "invalid quantity"),
        (("2025-01-01", "sul", "Livro", "٣", "1"), "invalid quantity"),
        (("2025-01-01", "sul", "Livro", "9" * 5000, "1"), "invalid quantity"),
        (("2025-01-01", "sul", "Livro", "1", "NaN"), "invalid unit price"),
        (("2025-01-01", "sul", "Livro", "1", "Infinity"), "invalid unit price"),
        (("2025-01-01", "sul", "Livro", "1", "1e999999"), "invalid unit price"),
        (("2025-01-01", "sul", "Livro", "1", "0.00"), "invalid unit price"),
        (("2025-01-01", "sul", "Livro", "1", "-3"), "invalid unit price"),
    ],
)
def test_a_wrong_row_is_refused_with_its_reason(row: tuple[str, str, str, str, str], reason: str) -> None:
    with pytest.raises(RowError) as refused:
        parse(*row)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "price"),
    [("1234.56", "1234.56"), ("1234,56", "1234.56"), ("1.234,56", "1234.56"), ("7", "7"), (" 0,5 ", "0.5")],
)
def test_prices_are_read_in_english_and_portuguese_notation(text: str, price: str) -> None:
    assert price_of(text) == Decimal(price)


def test_dates_are_read_in_iso_and_brazilian_notation() -> None:
    assert month_of("2025-03-09") == month_of("09/03/2025") == "2025-03"


@pytest.mark.parametrize("text", ["centro-oeste", "Centro Oeste", "CENTRO_OESTE", "  centro  oeste "])
def test_a_region_is_known_by_all_its_spellings(text: str) -> None:
    assert region_of(text) == Region.CENTRO_OESTE.value


@given(st.integers(1, 1_000_000), st.decimals("0.01", "999999999.9999", places=4))
def test_amount_is_exact(quantity: int, price: Decimal) -> None:
    sale = parse("2025-01-01", "sul", "Livro", str(quantity), str(price))
    assert sale.amount == quantity * price


@given(st.tuples(st.text(), st.text(), st.text(), st.text(), st.text()))
def test_any_text_is_a_sale_or_a_row_error(row: tuple[str, str, str, str, str]) -> None:
    with suppress(RowError):
        assert parse(*row).quantity > 0


@given(st.text())
def test_a_quantity_is_never_anything_but_a_positive_number(text: str) -> None:
    with suppress(RowError):
        assert 0 < quantity_of(text) <= 1_000_000
