"""The stored orders."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from loja.contracts.events import Address, Item
from loja.orders.order import Happened, Order
from loja.orders.status import Status
from loja.orders.tables import order_history, orders

_COLUMNS = [column for column in orders.columns if column.name != "created_at"]


def add(session: Session, order: Order) -> None:
    """Store a new order."""
    session.execute(
        insert(orders).values(
            order_id=order.order_id,
            mode=order.mode,
            status=order.status,
            user_id=order.user_id,
            total=order.total,
            items=[item.model_dump() for item in order.items],
            address=order.address.model_dump(),
            card=order.card,
        )
    )


def locked(session: Session, order_id: str) -> Order | None:
    """An order that nobody else changes before the end of the transaction."""
    row = session.execute(select(*_COLUMNS).where(orders.c.order_id == order_id).with_for_update()).first()
    return None if row is None else _order(row)


def get(session: Session, order_id: str) -> Order | None:
    """One order."""
    row = session.execute(select(*_COLUMNS).where(orders.c.order_id == order_id)).first()
    return None if row is None else _order(row)


def page(session: Session, limit: int, before: str | None) -> list[Order]:
    """The newest orders, or the newest of those that are older than `before`."""
    wanted = select(*_COLUMNS).order_by(orders.c.order_id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(orders.c.order_id < before)
    return [_order(row) for row in session.execute(wanted)]


def change(session: Session, order_id: str, status: Status, reason: str | None) -> None:
    """Give an order its new status; the first reason stays."""
    kept = orders.c.reason if reason is None else reason
    session.execute(update(orders).where(orders.c.order_id == order_id).values(status=status, reason=kept))


def note(session: Session, order_id: str, lines: Iterable[Happened]) -> None:
    """Add to the history what is not in it yet."""
    for line in lines:
        values = {"at": line.at, "service": line.service, "event": line.event, "detail": line.detail}
        once = upsert(order_history).values(order_id=order_id, **values)
        session.execute(once.on_conflict_do_nothing(constraint="order_history_once"))


def history(session: Session, order_id: str) -> list[Happened]:
    """What has happened to an order, oldest first."""
    wanted = select(order_history.c.at, order_history.c.service, order_history.c.event, order_history.c.detail)
    found = wanted.where(order_history.c.order_id == order_id).order_by(order_history.c.at, order_history.c.id)
    return [Happened(*row) for row in session.execute(found)]


def _order(row: Row[Any]) -> Order:
    values = dict(row._mapping)
    return Order(
        **values
        | {
            "status": Status(values["status"]),
            "items": [Item(**item) for item in values["items"]],
            "address": Address(**values["address"]),
        }
    )
