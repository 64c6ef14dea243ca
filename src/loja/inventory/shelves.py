"""The stored products and reservations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from loja.contracts.events import Item
from loja.inventory.reservation import Move, Reservation, Status
from loja.inventory.tables import products, reservations


@dataclass(frozen=True, slots=True)
class Shelf:
    """How much there is of a product, and where."""

    sku: str
    name: str
    price: Decimal
    initial_stock: int
    stock: int
    reserved: int
    shipped: int


def locked_stock(session: Session, items: Iterable[Item]) -> dict[str, int]:
    """What is left of these products, for nobody else before the end of the transaction; locked in one order."""
    wanted = select(products.c.sku, products.c.stock).where(products.c.sku.in_([item.sku for item in items]))
    rows = session.execute(wanted.order_by(products.c.sku).with_for_update())
    return {row.sku: row.stock for row in rows}


def move(session: Session, moves: Sequence[Move]) -> None:
    """Move goods, in the order in which `locked_stock` locks."""
    for one in sorted(moves, key=lambda move: move.sku):
        session.execute(
            update(products)
            .where(products.c.sku == one.sku)
            .values(
                stock=products.c.stock + one.stock,
                reserved=products.c.reserved + one.reserved,
                shipped=products.c.shipped + one.shipped,
            )
        )


def add(session: Session, reservation: Reservation) -> bool:
    """Store the reservation of an order; False if the order has one."""
    items = [item.model_dump() for item in reservation.items]
    values = {"order_id": reservation.order_id, "status": reservation.status, "items": items}
    once = insert(reservations).values(values).on_conflict_do_nothing().returning(reservations.c.order_id)
    return session.execute(once).first() is not None


def locked(session: Session, order_id: str) -> Reservation | None:
    """The reservation of an order, which nobody else changes before the end of the transaction."""
    row = session.execute(select(reservations).where(reservations.c.order_id == order_id).with_for_update()).first()
    if row is None:
        return None
    return Reservation(row.order_id, Status(row.status), tuple(Item(**item) for item in row._mapping["items"]))


def change(session: Session, order_id: str, status: Status) -> None:
    """Give a reservation its new status."""
    session.execute(update(reservations).where(reservations.c.order_id == order_id).values(status=status))


def page(session: Session, limit: int, after: str | None) -> list[Shelf]:
    """Products by their names, or those behind `after`."""
    wanted = select(products).order_by(products.c.sku).limit(limit)
    if after is not None:
        wanted = wanted.where(products.c.sku > after)
    return [Shelf(**row._mapping) for row in session.execute(wanted)]
