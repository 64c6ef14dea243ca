"""What the order service does about events.

One event per transaction: the topics of one order are read side by side, and two batches of many orders would lock
the same rows in different order.
"""

from collections.abc import Iterable
from datetime import datetime, timezone

from pydantic import BaseModel
from sqlalchemy.orm import Session

from loja.app import app
from loja.contracts import topics
from loja.contracts.errors import UnknownOrder
from loja.contracts.events import OrderCreated, OrderEvent, OrderRequested
from loja.orders import book
from loja.orders.order import Happened, Order
from loja.orders.status import NEWS, REQUESTED, after, ended
from trilho import Event, Tx

GROUP = "order-service"


class Heard(BaseModel):
    """What the order service wants to know of the other services' events."""

    order_id: str
    reason: str | None = None


@app.bus.subscribe(REQUESTED, group=GROUP, batch=1)
def create(event: Event[OrderRequested], tx: Tx) -> None:
    """Accept an order that was requested; raises UnknownOrder."""
    order = _locked(tx.session, event.data.order_id, event.topic)
    status = after(order.status, event.topic)
    if status is order.status:
        return
    book.change(tx.session, order.order_id, status, None)
    _publish(tx.session, order.order_id, [OrderCreated(**dict(event.data))])


@app.bus.subscribe(*NEWS, group=GROUP, batch=1)
def learn(event: Event[Heard], tx: Tx) -> None:
    """Note how an order goes; raises UnknownOrder."""
    order, reason = _locked(tx.session, event.data.order_id, event.topic), event.data.reason
    status = after(order.status, event.topic)
    line = Happened(event.time, NEWS[event.topic].service, event.topic, reason)
    book.note(tx.session, order.order_id, [line])
    book.change(tx.session, order.order_id, status, order.reason or reason)
    _publish(tx.session, order.order_id, ended(order.order_id, order.status, status, order.reason or reason))


def _locked(session: Session, order_id: str, topic: str) -> Order:
    order = book.locked(session, order_id)
    if order is None:
        raise UnknownOrder(order_id, topic)
    return order


def _publish(session: Session, order_id: str, events: Iterable[OrderEvent]) -> None:
    for event in events:
        book.note(session, order_id, [Happened(datetime.now(timezone.utc), "order", event.topic, None)])
        topics.publish(app, event)
