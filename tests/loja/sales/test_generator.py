"""Files that are made up."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from loja.sales.encoding import survey
from loja.sales.files import SalesFile
from loja.sales.generator import batches
from loja.sales.sale import Region
from loja.sales.summary import summarise


def text_of(name: str, num_rows: int) -> str:
    return "".join(text for _, text in batches(name, num_rows))


@settings(deadline=None)
@given(st.integers(1, 3000))
def test_a_file_has_as_many_rows_as_asked(num_rows: int) -> None:
    assert text_of("vendas.csv", num_rows).count("\n") == num_rows + 1


def test_the_same_name_and_number_give_the_same_file_and_others_another() -> None:
    assert text_of("a.csv", 500) == text_of("a.csv", 500)
    assert text_of("a.csv", 500) != text_of("b.csv", 500)


def test_a_file_covers_all_months_and_regions_and_has_some_malformed_rows() -> None:
    stream = io.BytesIO(text_of("vendas.csv", 10_000).encode())
    summary = summarise(SalesFile("vendas.csv", "generated", stream, survey(stream)), lambda *_: None)
    assert list(summary.totals.by_month()) == [f"2025-{month:02}" for month in range(1, 13)]
    assert set(summary.totals.by_region()) == {region.value for region in Region}
    assert 0 < summary.rejects.count < 200
    assert summary.accepted + summary.rejects.count == summary.rows == 10_000
    assert len(summary.rejects.reasons) >= 5
