"""What the shop sells. Prices and names are common knowledge; how much is left is known to the inventory alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Product:
    """One product; `stock` is what the shelves hold before the first order."""

    sku: str
    name: str
    price: Decimal
    stock: int


_PRODUCTS = (
    Product("COFFEE", "Coffee, 500 g", Decimal("32.90"), 100_000),
    Product("MUG", "Mug", Decimal("45.00"), 100_000),
    Product("NOTEBOOK", "Notebook", Decimal("18.50"), 100_000),
    Product("POSTER", "Poster, numbered", Decimal("120.00"), 50),
    Product("SOLD-OUT", "Lamp that everybody wants", Decimal("99.90"), 0),
    Product("T-SHIRT", "T-shirt", Decimal("79.90"), 100_000),
)
CATALOGUE: Mapping[str, Product] = MappingProxyType({product.sku: product for product in _PRODUCTS})
