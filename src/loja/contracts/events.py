"""The events between the services of an order; each is keyed by the order, and each topic has one kind of event.

A service is told all it needs by the event that it handles, because it cannot ask another one.
"""

from decimal import Decimal
from typing import ClassVar

from pydantic import BaseModel, Field


class Item(BaseModel):
    """So many of one product."""

    sku: str
    quantity: int = Field(gt=0)


class Address(BaseModel):
    """Where an order goes; the country as two letters."""

    street: str
    city: str
    country: str


class Card(BaseModel):
    """What stands for a card; nobody can find its number from it."""

    token: str
    last_four: str


class OrderEvent(BaseModel):
    """Something has happened to an order."""

    topic: ClassVar[str]

    order_id: str


class Refusal(OrderEvent):
    """A step was refused, or undone because of a refusal."""

    reason: str


class OrderRequested(OrderEvent):
    """Somebody wants to buy."""

    topic = "order.requested"

    user_id: str
    total: Decimal
    items: list[Item]
    card: Card
    address: Address


class OrderCreated(OrderRequested):
    """The order stands, and is to be paid."""

    topic = "order.created"


class PaymentCompleted(OrderEvent):
    """The card was charged, and the goods may be put aside."""

    topic = "payment.completed"

    amount: Decimal
    items: list[Item]
    address: Address


class PaymentFailed(Refusal):
    """The card was declined."""

    topic = "payment.failed"


class PaymentRefunded(Refusal):
    """The money went back."""

    topic = "payment.refunded"

    amount: Decimal


class InventoryReserved(OrderEvent):
    """The goods are put aside, and may be sent."""

    topic = "inventory.reserved"

    address: Address


class InventoryFailed(Refusal):
    """There is not enough of something."""

    topic = "inventory.failed"


class InventoryReleased(Refusal):
    """The goods are back on their shelves."""

    topic = "inventory.released"


class ShippingScheduled(OrderEvent):
    """A carrier has the parcel."""

    topic = "shipping.scheduled"


class ShippingFailed(Refusal):
    """No carrier goes there."""

    topic = "shipping.failed"


class OrderCompleted(OrderEvent):
    """All is done."""

    topic = "order.completed"


class OrderCancelled(Refusal):
    """All is undone."""

    topic = "order.cancelled"
