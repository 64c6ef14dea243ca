"""Sums."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.sales.errors import TooManyGroups
from loja.sales.sale import Region, Sale
from loja.sales.totals import Group, Totals

SALES = st.builds(
    Sale,
    st.sampled_from(["2025-01", "2025-02"]),
    st.sampled_from([region.value for region in Region]),
    st.sampled_from(["Livro", "Pão"]),
    st.integers(1, 9),
    st.decimals("0.01", "999999", places=2),
)


@given(st.lists(SALES))
def test_every_way_of_summing_adds_up_to_the_same(sales: list[Sale]) -> None:
    totals = Totals()
    for sale in sales:
        totals.add(sale)
    expected = Group(len(sales), sum(sale.quantity for sale in sales), sum((sale.amount for sale in sales), Decimal()))
    assert totals.overall() == expected
    for part in (totals.by_month(), totals.by_region(), totals.by_product()):
        whole = Group()
        for group in part.values():
            whole.add(group.sales, group.quantity, group.amount)
        assert whole == expected


def test_regions_are_listed_by_amount_and_months_by_time() -> None:
    totals = Totals()
    totals.add(Sale("2025-02", "sul", "Livro", 1, Decimal(1)))
    totals.add(Sale("2025-01", "norte", "Livro", 1, Decimal(2)))
    assert list(totals.by_region()) == ["norte", "sul"]
    assert list(totals.by_month()) == ["2025-01", "2025-02"]


def test_groups_are_limited() -> None:
    totals = Totals(max_groups=1)
    totals.add(Sale("2025-02", "sul", "Livro", 1, Decimal(1)))
    totals.add(Sale("2025-02", "sul", "Livro", 1, Decimal(1)))
    with pytest.raises(TooManyGroups):
        totals.add(Sale("2025-02", "sul", "Pão", 1, Decimal(1)))
