"""The life of an order, decided without I/O: a status and an event make a status and what to publish."""

from dataclasses import dataclass
from enum import StrEnum

from loja.contracts.events import OrderCancelled, OrderCompleted, OrderEvent


class Status(StrEnum):
    """States of an order."""

    REQUESTED = "REQUESTED"
    CREATED = "CREATED"
    PAID = "PAID"
    RESERVED = "RESERVED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    STUCK = "STUCK"  # a step could not be undone; a person decides


@dataclass(frozen=True, slots=True)
class News:
    """What an event means for an order; without a status it is for the history only."""

    service: str
    status: Status | None = None


REQUESTED = "order.requested"
NEWS = {
    "payment.completed": News("payment", Status.PAID),
    "payment.failed": News("payment", Status.CANCELLED),
    "payment.refunded": News("payment", Status.CANCELLED),
    "inventory.reserved": News("inventory", Status.RESERVED),
    "inventory.failed": News("inventory"),  # the order is cancelled when the money is back
    "inventory.released": News("inventory"),
    "shipping.scheduled": News("shipping", Status.COMPLETED),
    "shipping.failed": News("shipping"),
    "orders.reserved": News("inventory", Status.RESERVED),
    "orders.refused": News("inventory", Status.CANCELLED),
}
_FORWARD = list(Status)
ENDS = frozenset({Status.COMPLETED, Status.CANCELLED, Status.STUCK})


def after(status: Status, topic: str) -> Status:
    """The status after an event.

    Events of different topics may come in any order, and again: an order moves forward only, and never out of an end.
    """
    wanted = Status.CREATED if topic == REQUESTED else NEWS[topic].status
    if wanted is None or status in ENDS:
        return status
    return max(status, wanted, key=_FORWARD.index)


def on_the_way(status: Status, topic: str) -> Status:
    """The status after an event of an order whose end is decided by its saga."""
    now = after(status, topic)
    return status if now in ENDS else now


def ended(order_id: str, before: Status, now: Status, reason: str | None) -> tuple[OrderEvent, ...]:
    """What there is to publish when an order has come to its end, once."""
    if before is now:
        return ()
    if now is Status.COMPLETED:
        return (OrderCompleted(order_id=order_id),)
    if now is Status.CANCELLED:
        return (OrderCancelled(order_id=order_id, reason=reason or "no reason was given"),)
    return ()
