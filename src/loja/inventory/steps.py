"""What the inventory service does when it is asked; each is once for an order, however often it is asked."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from loja.contracts.events import InventoryFailed, InventoryReleased, InventoryReserved, Item, PaymentCompleted, Refusal
from loja.inventory import shelves
from loja.inventory.reservation import (
    Move,
    Reservation,
    Status,
    lacking,
    put_aside,
    sent,
    taken_back,
)
from trilho import Tx


def reserve(paid: PaymentCompleted, tx: Tx) -> InventoryReserved | InventoryFailed:
    """Put the goods of a paid order aside; what came of it."""
    reservation = shelves.locked(tx.session, paid.order_id)
    if reservation is None:
        why_not = reserve_goods(tx.session, paid.order_id, paid.items)
    else:
        why_not = None if reservation.status is Status.RESERVED else f"the goods are {reservation.status} already"
    if why_not is None:
        return InventoryReserved(order_id=paid.order_id, address=paid.address)
    return InventoryFailed(order_id=paid.order_id, reason=why_not)


def release(because: Refusal, tx: Tx) -> InventoryReleased | None:
    """Take the goods back, from the carrier too; None if there are none to take."""
    reservation = shelves.locked(tx.session, because.order_id)
    if reservation is None or not move(tx.session, reservation, taken_back(reservation), Status.RELEASED):
        return None
    return InventoryReleased(order_id=because.order_id, reason=because.reason)


def hand_over(order_id: str, tx: Tx) -> None:
    """Give the goods to the carrier."""
    reservation = shelves.locked(tx.session, order_id)
    if reservation is not None:
        move(tx.session, reservation, sent(reservation), Status.SHIPPED)


def reserve_goods(session: Session, order_id: str, items: Sequence[Item]) -> str | None:
    """Put goods aside for an order that has none yet; why not, if there is not enough."""
    why_not = lacking(items, shelves.locked_stock(session, items))
    if shelves.add(session, Reservation(order_id, Status.REFUSED if why_not else Status.RESERVED, tuple(items))):
        shelves.move(session, [] if why_not else put_aside(items))
    return why_not


def move(session: Session, reservation: Reservation, moves: Sequence[Move], status: Status) -> bool:
    """Move the goods of a reservation; False if there is nothing to move."""
    if moves:
        shelves.move(session, moves)
        shelves.change(session, reservation.order_id, status)
    return bool(moves)
