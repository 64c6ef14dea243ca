"""The life of a reservation, decided without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loja.contracts.events import Item


class Status(StrEnum):
    """States of a reservation."""

    RESERVED = "RESERVED"
    REFUSED = "REFUSED"
    RELEASED = "RELEASED"
    SHIPPED = "SHIPPED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is put aside for an order."""

    order_id: str
    status: Status
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Goods that change their place: what is added to each of the three counts of a product; the sum is 0."""

    sku: str
    stock: int = 0
    reserved: int = 0
    shipped: int = 0


def lacking(items: Sequence[Item], stock: Mapping[str, int]) -> str | None:
    """Why the goods cannot be put aside; None if they can."""
    for item in items:
        if item.quantity > stock.get(item.sku, 0):
            return f"{item.sku}: {item.quantity} wanted, {stock.get(item.sku, 0)} left"
    return None


def put_aside(items: Sequence[Item]) -> list[Move]:
    """From the shelf to the order."""
    return [Move(item.sku, stock=-item.quantity, reserved=item.quantity) for item in items]


def put_back(reservation: Reservation) -> list[Move]:
    """From the order to the shelf, if it is there still."""
    if reservation.status is not Status.RESERVED:
        return []
    return [Move(item.sku, stock=item.quantity, reserved=-item.quantity) for item in reservation.items]


def taken_back(reservation: Reservation) -> list[Move]:
    """To the shelf, from the order or the carrier: whoever asks for it knows what the goods were there for."""
    if reservation.status is not Status.SHIPPED:
        return put_back(reservation)
    return [Move(item.sku, stock=item.quantity, shipped=-item.quantity) for item in reservation.items]


def sent(reservation: Reservation) -> list[Move]:
    """From the order to the carrier, if it is there still."""
    if reservation.status is not Status.RESERVED:
        return []
    return [Move(item.sku, reserved=-item.quantity, shipped=item.quantity) for item in reservation.items]
