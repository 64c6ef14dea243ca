"""The stored payments."""

from typing import Any

from sqlalchemy import Column, Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from loja.payments.payment import Payment, Status
from loja.payments.tables import payments

_COLUMNS: list[Column[Any]] = [payments.c.order_id, payments.c.amount, payments.c.status]


def add(session: Session, payment: Payment) -> bool:
    """Store the payment of an order; False if the order has one."""
    values = {"order_id": payment.order_id, "amount": payment.amount, "status": payment.status}
    once = insert(payments).values(values).on_conflict_do_nothing().returning(payments.c.order_id)
    return session.execute(once).first() is not None


def locked(session: Session, order_id: str) -> Payment | None:
    """The payment of an order, which nobody else changes before the end of the transaction."""
    row = session.execute(select(*_COLUMNS).where(payments.c.order_id == order_id).with_for_update()).first()
    return None if row is None else _payment(row)


def refund(session: Session, order_id: str) -> None:
    """Note that the money went back."""
    session.execute(update(payments).where(payments.c.order_id == order_id).values(status=Status.REFUNDED))


def page(session: Session, limit: int, before: str | None) -> list[Payment]:
    """The payments of the newest orders, or of the newest that are older than `before`."""
    wanted = select(*_COLUMNS).order_by(payments.c.order_id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(payments.c.order_id < before)
    return [_payment(row) for row in session.execute(wanted)]


def _payment(row: Row[Any]) -> Payment:
    return Payment(row.order_id, row.amount, Status(row.status))
