"""One sale, and the rules by which a row of a file becomes one."""

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

MAX_PRODUCT = 200
MAX_QUANTITY = 1_000_000

_ISO_DAY = re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII)
_BRAZILIAN_DAY = re.compile(r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4})", re.ASCII)
_PRICE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,4})?", re.ASCII)
_GROUPED = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})*,[0-9]{1,4}|[0-9]+,[0-9]{1,4}", re.ASCII)


class Region(StrEnum):
    """The five regions of Brazil."""

    NORTE = "norte"
    NORDESTE = "nordeste"
    CENTRO_OESTE = "centro-oeste"
    SUDESTE = "sudeste"
    SUL = "sul"


class Sale(NamedTuple):
    """One valid row; `month` is `YYYY-MM`, `amount` is quantity times unit price."""

    month: str
    region: str
    product: str
    quantity: int
    amount: Decimal


class RowError(ValueError):
    """The row is no sale: `reason` is one of few short texts that can be counted, `value` is what was found."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(f"{reason}: {value!r}")
        self.reason = reason
        self.value = value


def parse(day: str, region: str, product: str, quantity: str, price: str) -> Sale:
    """The sale that these texts describe; raises RowError with the first thing that is wrong."""
    month, place, name = month_of(day), region_of(region), product_of(product)
    count = quantity_of(quantity)
    return Sale(month, place, name, count, count * price_of(price))


# The caches below are worth half of the time of a large file: its columns hold few different texts.


@lru_cache(maxsize=4096)
def month_of(text: str) -> str:
    """`YYYY-MM` of a day written `2025-01-31` or `31/01/2025`."""
    found = _ISO_DAY.fullmatch(text.strip()) or _BRAZILIAN_DAY.fullmatch(text.strip())
    if found is None:
        raise RowError("invalid date", text)
    try:
        day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        raise RowError("invalid date", text) from None
    return f"{day.year:04}-{day.month:02}"


@lru_cache(maxsize=256)
def region_of(text: str) -> str:
    """The region of this name, whatever its case; `centro oeste` is understood."""
    try:
        return Region("-".join(text.casefold().replace("-", " ").replace("_", " ").split())).value
    except ValueError:
        raise RowError("unknown region", text) from None


@lru_cache(maxsize=4096)
def product_of(text: str) -> str:
    """The product's name without the spaces around it."""
    name = text.strip()
    if not name:
        raise RowError("missing product", text)
    # PostgreSQL cannot store NUL, and other control characters are damage, not a name.
    if len(name) > MAX_PRODUCT or not name.isprintable():
        raise RowError("invalid product", text)
    return name


@lru_cache(maxsize=4096)
def quantity_of(text: str) -> int:
    """A whole number from 1 to a million."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9 and 0 < int(digits) <= MAX_QUANTITY):
        raise RowError("invalid quantity", text)
    return int(digits)


@lru_cache(maxsize=65536)
def price_of(text: str) -> Decimal:
    """A positive amount of at most four decimal places, written `1234.56`, `1234,56` or `1.234,56`."""
    digits = text.strip()
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    if not _PRICE.fullmatch(digits) or not (price := Decimal(digits)):
        raise RowError("invalid unit price", text)
    return price
