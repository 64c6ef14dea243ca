"""What the payment service does when it is asked; each is once for an order, however often it is asked."""

from sqlalchemy.orm import Session

from loja.contracts.events import OrderCreated, PaymentCompleted, PaymentFailed, PaymentRefunded, Refusal
from loja.payments import desk, ledger
from loja.payments.payment import Payment, charged, refunded
from trilho import Tx


def charge(order: OrderCreated, tx: Tx) -> PaymentCompleted | PaymentFailed:
    """Charge the card; what came of it."""
    payment, told = charged(order)
    ledger.add(tx.session, payment)
    return told


def refund(because: Refusal, tx: Tx) -> PaymentRefunded | None:
    """Give the money back; None if there is none to give. Raises RefundsClosed."""
    payment = ledger.locked(tx.session, because.order_id)
    return None if payment is None else give_back(tx.session, payment, because)


def give_back(session: Session, payment: Payment, because: Refusal) -> PaymentRefunded | None:
    """Give the money of a payment back, if it has not gone back yet; raises RefundsClosed."""
    told = refunded(payment, because)
    if told is not None:
        desk.ensure_open(session)
        ledger.refund(session, payment.order_id)
    return told
