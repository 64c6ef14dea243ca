"""The life of a payment, decided without I/O."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from loja.contracts.card import is_declined
from loja.contracts.events import (
    OrderCreated,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
    Refusal,
)


class Status(StrEnum):
    """States of a payment."""

    CHARGED = "CHARGED"
    REFUNDED = "REFUNDED"
    DECLINED = "DECLINED"


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment."""

    order_id: str
    amount: Decimal
    status: Status


def charged(order: OrderCreated) -> tuple[Payment, PaymentCompleted | PaymentFailed]:
    """The payment of a new order, and what to publish about it."""
    if is_declined(order.card.token):
        reason = f"the card that ends in {order.card.last_four} was declined"
        failed = PaymentFailed(order_id=order.order_id, reason=reason)
        return Payment(order.order_id, order.total, Status.DECLINED), failed
    done = PaymentCompleted(order_id=order.order_id, amount=order.total, items=order.items, address=order.address)
    return Payment(order.order_id, order.total, Status.CHARGED), done


def refunded(payment: Payment, because: Refusal) -> PaymentRefunded | None:
    """What to publish when the money goes back; None when there is nothing to give back, or not any more."""
    if payment.status is not Status.CHARGED:
        return None
    return PaymentRefunded(order_id=payment.order_id, amount=payment.amount, reason=because.reason)
