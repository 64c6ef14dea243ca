"""What is stored when something happens to an order, whoever says so."""

from collections.abc import Iterable
from datetime import datetime, timezone

from sqlalchemy.orm import Session

from loja.app import app
from loja.contracts import topics
from loja.contracts.errors import UnknownOrder
from loja.contracts.events import OrderEvent
from loja.orders import book
from loja.orders.order import Happened, Order
from loja.orders.status import Status, ended


def locked(session: Session, order_id: str, topic: str) -> Order:
    """The order that an event is about; raises UnknownOrder."""
    order = book.locked(session, order_id)
    if order is None:
        raise UnknownOrder(order_id, topic)
    return order


def note(session: Session, order: Order, status: Status, line: Happened) -> None:
    """Add a line to the history, and give the order its new status; the first reason stays."""
    book.note(session, order.order_id, [line])
    book.change(session, order.order_id, status, order.reason or line.detail)


def publish_end(session: Session, order: Order, status: Status, reason: str | None) -> None:
    """Publish that the order has come to its end, if it just has."""
    publish(session, order.order_id, ended(order.order_id, order.status, status, order.reason or reason))


def publish(session: Session, order_id: str, events: Iterable[OrderEvent]) -> None:
    """Publish events of the order service; they are in the history, too."""
    for event in events:
        book.note(session, order_id, [happened_now("order", event.topic)])
        topics.publish(app, event)


def happened_now(service: str, event: str, detail: str | None = None) -> Happened:
    """A line of the history."""
    return Happened(datetime.now(timezone.utc), service, event, detail)
