"""What the inventory service does about events.

One event per transaction: two batches of many orders would lock the same products in different order.
"""

from sqlalchemy.orm import Session

from loja.app import app
from loja.contracts import topics
from loja.contracts.errors import UnknownOrder
from loja.contracts.events import (
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    PaymentCompleted,
    ShippingFailed,
    ShippingScheduled,
)
from loja.contracts.stream import ITEMS, ITEMS_HEADER, ORDERS, OrderPlaced, StockRefused, StockReserved
from loja.inventory import shelves
from loja.inventory.reservation import Reservation, Status, put_back, sent
from loja.inventory.steps import move, reserve_goods
from trilho import Event, Retry, Tx

GROUP = "inventory-service"


@app.bus.subscribe(PaymentCompleted.topic, group=GROUP, batch=1)
def reserve(paid: PaymentCompleted, tx: Tx) -> None:
    """Put the goods of a paid order aside, once."""
    if shelves.locked(tx.session, paid.order_id) is not None:
        return
    why_not = reserve_goods(tx.session, paid.order_id, paid.items)
    if why_not is None:
        topics.publish(app, InventoryReserved(order_id=paid.order_id, address=paid.address))
    else:
        topics.publish(app, InventoryFailed(order_id=paid.order_id, reason=why_not))


@app.bus.subscribe(ORDERS, group=GROUP, batch=1, retry=Retry(give_up_on=(UnknownOrder,)))
def reserve_streamed(event: Event[OrderPlaced], tx: Tx) -> None:
    """Put the goods of an order of mode `stream` aside, once; raises UnknownOrder for what is not the shop's."""
    order_id, mode = event.data.order_id, event.data.mode
    if mode not in {"stream", None} or shelves.locked(tx.session, order_id) is not None:
        return
    if mode is None or ITEMS_HEADER not in event.headers:
        raise UnknownOrder(order_id, event.topic)
    why_not = reserve_goods(tx.session, order_id, ITEMS.validate_json(event.headers[ITEMS_HEADER]))
    if why_not is None:
        topics.publish(app, StockReserved(order_id=order_id))
    else:
        topics.publish(app, StockRefused(order_id=order_id, reason=why_not))


@app.bus.subscribe(ShippingFailed.topic, group=GROUP, batch=1)
def release(failed: ShippingFailed, tx: Tx) -> None:
    """Put the goods back, once; raises UnknownOrder."""
    reservation = _locked(tx.session, failed.order_id, failed.topic)
    if move(tx.session, reservation, put_back(reservation), Status.RELEASED):
        topics.publish(app, InventoryReleased(order_id=failed.order_id, reason=failed.reason))


@app.bus.subscribe(ShippingScheduled.topic, group=GROUP, batch=1)
def hand_over(scheduled: ShippingScheduled, tx: Tx) -> None:
    """Give the goods to the carrier, once; raises UnknownOrder."""
    reservation = _locked(tx.session, scheduled.order_id, scheduled.topic)
    move(tx.session, reservation, sent(reservation), Status.SHIPPED)


def _locked(session: Session, order_id: str, topic: str) -> Reservation:
    reservation = shelves.locked(session, order_id)
    if reservation is None:
        raise UnknownOrder(order_id, topic)
    return reservation
