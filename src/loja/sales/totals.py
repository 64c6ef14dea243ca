"""Sums of sales per month, region and product."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from loja.sales.errors import TooManyGroups
from loja.sales.sale import Sale

MAX_GROUPS = 100_000
"""Groups that are kept in memory; a file beyond it is no sales file, and must not take the worker down."""

Key = tuple[str, str, str]


@dataclass(slots=True)
class Group:
    """What was sold: number of sales, pieces and money."""

    sales: int = 0
    quantity: int = 0
    amount: Decimal = Decimal()

    def add(self, sales: int, quantity: int, amount: Decimal) -> None:
        """Count this in."""
        self.sales += sales
        self.quantity += quantity
        self.amount += amount


@dataclass(slots=True)
class Totals:
    """Groups by (month, region, product); memory grows with the groups, not with the sales."""

    groups: dict[Key, Group] = field(default_factory=dict)
    max_groups: int = MAX_GROUPS

    def add(self, sale: Sale) -> None:
        """Count one sale in; raises TooManyGroups."""
        key = (sale.month, sale.region, sale.product)
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= self.max_groups:
                raise TooManyGroups(f"more than {self.max_groups:,} combinations of month, region and product")
            group = self.groups[key] = Group()
        group.add(1, sale.quantity, sale.amount)

    def overall(self) -> Group:
        """The sum of all groups."""
        return self._by(lambda _: "").get("", Group())

    def by_month(self) -> dict[str, Group]:
        """Sums per `YYYY-MM`, in order of time."""
        return dict(sorted(self._by(lambda key: key[0]).items()))

    def by_region(self) -> dict[str, Group]:
        """Sums per region, the largest amount first."""
        return largest(self._by(lambda key: key[1]).items())

    def by_product(self) -> dict[str, Group]:
        """Sums per product, the largest amount first."""
        return largest(self._by(lambda key: key[2]).items())

    def _by(self, name_of: Callable[[Key], str]) -> dict[str, Group]:
        sums: dict[str, Group] = {}
        for key, group in self.groups.items():
            sums.setdefault(name_of(key), Group()).add(group.sales, group.quantity, group.amount)
        return sums


def largest(sums: Iterable[tuple[str, Group]]) -> dict[str, Group]:
    """The groups by amount, the largest first; equal amounts by name."""
    return dict(sorted(sums, key=lambda pair: (-pair[1].amount, pair[0])))
