"""The topics of an order, declared with what may be published to them."""

from loja.contracts import events, stream
from loja.contracts.events import OrderEvent
from trilho import Trilho

PARTITIONS = 2
KINDS: tuple[type[OrderEvent], ...] = (
    events.OrderRequested,
    events.OrderCreated,
    events.PaymentCompleted,
    events.PaymentFailed,
    events.PaymentRefunded,
    events.InventoryReserved,
    events.InventoryFailed,
    events.InventoryReleased,
    events.ShippingScheduled,
    events.ShippingFailed,
    events.OrderCompleted,
    events.OrderCancelled,
    stream.StockReserved,
    stream.StockRefused,
)


def declare(app: Trilho) -> None:
    """Declare them all."""
    app.bus.topic(stream.ORDERS, schema=stream.OrderPlaced)
    for kind in KINDS:
        app.bus.topic(kind.topic, partitions=PARTITIONS, schema=kind)


def publish(app: Trilho, *published: OrderEvent) -> None:
    """Publish with the open transaction, keyed by order."""
    for event in published:
        app.bus.publish(event.topic, event, key=event.order_id)
