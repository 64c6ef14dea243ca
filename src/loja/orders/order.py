"""An order as it is stored, and one line of its history."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from loja.contracts.events import Address, Item
from loja.contracts.stream import Mode
from loja.orders.status import Status


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `card` is the last four digits of its card."""

    order_id: str
    mode: Mode
    user_id: str
    total: Decimal
    items: list[Item]
    address: Address
    card: str
    status: Status = Status.REQUESTED
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """One line of the history."""

    at: datetime
    service: str
    event: str
    detail: str | None
