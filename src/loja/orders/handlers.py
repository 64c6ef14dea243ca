"""What the order service does about events.

One event per transaction: the topics of one order are read side by side, and two batches of many orders would lock
the same rows in different order.
"""

from pydantic import BaseModel

from loja.app import app
from loja.contracts.events import OrderCreated, OrderRequested
from loja.orders import book, progress
from loja.orders.order import Happened
from loja.orders.status import NEWS, REQUESTED, after
from trilho import Event, Tx

GROUP = "order-service"


class Heard(BaseModel):
    """What the order service wants to know of the other services' events."""

    order_id: str
    reason: str | None = None


@app.bus.subscribe(REQUESTED, group=GROUP, batch=1)
def create(event: Event[OrderRequested], tx: Tx) -> None:
    """Accept an order that was requested; raises UnknownOrder."""
    order = progress.locked(tx.session, event.data.order_id, event.topic)
    status = after(order.status, event.topic)
    if status is order.status:
        return
    book.change(tx.session, order.order_id, status, None)
    progress.publish(tx.session, order.order_id, [OrderCreated(**dict(event.data))])


@app.bus.subscribe(*NEWS, group=GROUP, batch=1)
def learn(event: Event[Heard], tx: Tx) -> None:
    """Note how an order goes; raises UnknownOrder."""
    order, reason = progress.locked(tx.session, event.data.order_id, event.topic), event.data.reason
    status = after(order.status, event.topic)
    progress.note(tx.session, order, status, Happened(event.time, NEWS[event.topic].service, event.topic, reason))
    progress.publish_end(tx.session, order, status, reason)
