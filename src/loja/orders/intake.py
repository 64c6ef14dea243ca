"""A request becomes an order: its row and its events are one commit."""

from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal

from uuid_utils.compat import uuid7

from loja.app import app
from loja.contracts import topics
from loja.contracts.card import tokenised
from loja.contracts.catalogue import CATALOGUE
from loja.contracts.events import Address, Card, Item, OrderRequested
from loja.contracts.stream import ITEMS, ITEMS_HEADER, ORDERS, Mode, OrderPlaced
from loja.orders import book
from loja.orders.order import Happened, Order
from loja.orders.saga import place_order
from loja.orders.schemas import NewItem, NewOrder


def place(new: NewOrder, mode: Mode) -> Order:
    """Store an order and publish it; it is on `orders` in every mode."""
    card = tokenised(new.card)
    items = merged(new.items)
    address = Address(**new.address.model_dump())
    order = Order(str(uuid7()), mode, str(new.user_id), total_of(items), items, address, card.last_four)
    now = datetime.now(timezone.utc)
    with app.transaction() as tx:
        book.add(tx.session, order)
        book.note(tx.session, order.order_id, [Happened(now, "order", "order.requested", f"{mode}, {order.total}")])
        _tell_everybody(order, new.user_id, now)
        if mode == "choreography":
            topics.publish(app, requested(order, card))
        elif mode == "orchestration":
            place_order.start(requested(order, card), id=order.order_id)
    return order


def merged(items: Iterable[NewItem]) -> list[Item]:
    """One line for each product, in the order of their names: also that in which their stock is locked."""
    quantities: dict[str, int] = {}
    for item in items:
        quantities[item.sku] = quantities.get(item.sku, 0) + item.quantity
    return [Item(sku=sku, quantity=quantities[sku]) for sku in sorted(quantities)]


def total_of(items: Iterable[Item]) -> Decimal:
    """What they cost."""
    return sum((CATALOGUE[item.sku].price * item.quantity for item in items), Decimal("0.00"))


def requested(order: Order, card: Card) -> OrderRequested:
    """What sets the choreography going, and what the orchestration is given."""
    return OrderRequested(
        order_id=order.order_id,
        user_id=order.user_id,
        total=order.total,
        items=order.items,
        card=card,
        address=order.address,
    )


def _tell_everybody(order: Order, user_id: str | int, now: datetime) -> None:
    placed = OrderPlaced(
        order_id=order.order_id,
        user_id=user_id,
        total=float(order.total),
        timestamp=now.timestamp(),
        mode=order.mode,
    )
    headers = {ITEMS_HEADER: ITEMS.dump_json(order.items).decode()}
    app.bus.publish(ORDERS, placed, key=order.order_id, headers=headers)
