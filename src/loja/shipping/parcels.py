"""The stored shipments."""

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from loja.contracts.events import Address
from loja.shipping.shipment import Shipment, Status
from loja.shipping.tables import shipments


def add(session: Session, shipment: Shipment, address: Address) -> bool:
    """Store the shipment of an order; False if the order has one."""
    values = {"order_id": shipment.order_id, "status": shipment.status, "address": address.model_dump()}
    once = insert(shipments).values(values).on_conflict_do_nothing().returning(shipments.c.order_id)
    return session.execute(once).first() is not None


def cancel(session: Session, order_id: str) -> None:
    """Note that the shipment of an order does not take place."""
    session.execute(update(shipments).where(shipments.c.order_id == order_id).values(status=Status.CANCELLED))


def page(session: Session, limit: int, before: str | None) -> list[Shipment]:
    """The shipments of the newest orders, or of the newest that are older than `before`."""
    wanted = select(shipments.c.order_id, shipments.c.status).order_by(shipments.c.order_id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(shipments.c.order_id < before)
    return [Shipment(row.order_id, Status(row.status)) for row in session.execute(wanted)]
