"""An order by orchestration: one function that says what comes after what, and the only code that knows all services.

Each step is a service's own function and the line of the history about it, in one commit. What a service refuses is
an answer like any other: it is stored with its step, and it is the saga that gives up because of it.
"""

from typing import TypeVar

from loja.app import app
from loja.contracts.events import (
    InventoryFailed,
    InventoryReserved,
    OrderCreated,
    OrderEvent,
    OrderRequested,
    PaymentCompleted,
    PaymentFailed,
    Refusal,
    ShippingFailed,
    ShippingScheduled,
)
from loja.inventory import steps as inventory
from loja.orders import book, progress
from loja.orders.order import Order
from loja.orders.status import NEWS, Status, on_the_way
from loja.payments import steps as payments
from loja.shipping import steps as shipping
from trilho import PermanentError, Retry, Saga, Tx

ToldT = TypeVar("ToldT", bound=OrderEvent | None)

CREATED, CANCELLED, COMPLETED = "order.created", "order.cancelled", "order.completed"
CALLED_OFF = "the order was called off"


class Refused(PermanentError):
    """A service does not do its part, and would not at another attempt."""


@app.saga(retry=Retry(attempts=4, delay=0.5))
async def place_order(saga: Saga, order: OrderRequested) -> str:
    """The whole order: completed, or undone with the newest step first."""
    created = await saga.step(create_order, order, undo=cancel_order)
    paid = await saga.step(charge_payment, created, undo=refund_payment)
    if isinstance(paid, Refusal):
        raise Refused(paid.reason)
    reserved = await saga.step(reserve_inventory, paid, undo=release_inventory)
    if isinstance(reserved, Refusal):
        raise Refused(reserved.reason)
    scheduled = await saga.step(schedule_shipping, reserved, undo=cancel_shipping)
    if isinstance(scheduled, Refusal):
        raise Refused(scheduled.reason)
    await saga.step(complete_order, created)
    return created.order_id


# ---- the order itself


def create_order(order: OrderRequested, tx: Tx) -> OrderCreated:
    """Accept an order that was requested; not published, because the payment service would charge it on its own."""
    found = progress.locked(tx.session, order.order_id, CREATED)
    if found.status is Status.REQUESTED:
        progress.note(tx.session, found, Status.CREATED, progress.happened_now("order", CREATED))
    return OrderCreated(**dict(order))


def cancel_order(order: OrderRequested, tx: Tx) -> None:
    """Close an order when all else is undone; one that was completed a moment ago, too."""
    _end(tx, order.order_id, CANCELLED, Status.CANCELLED)


def complete_order(order: OrderCreated, tx: Tx) -> None:
    """Give the goods to the carrier, and close the order."""
    inventory.hand_over(order.order_id, tx)
    _end(tx, order.order_id, COMPLETED, Status.COMPLETED)


# ---- what the other services do


@app.task(transactional=True)
def charge_payment(order: OrderCreated, tx: Tx) -> PaymentCompleted | PaymentFailed:
    """Charge the card; a task, so that the payment service may have workers of its own."""
    return _noted(tx, payments.charge(order, tx))


@app.task(transactional=True)
def refund_payment(order: OrderCreated, tx: Tx) -> None:
    """Give the money back, if it was taken; raises RefundsClosed."""
    because = _because(progress.locked(tx.session, order.order_id, CANCELLED))
    _noted(tx, payments.refund(because, tx))


def reserve_inventory(paid: PaymentCompleted, tx: Tx) -> InventoryReserved | InventoryFailed:
    """Put the goods aside."""
    return _noted(tx, inventory.reserve(paid, tx))


def release_inventory(paid: PaymentCompleted, tx: Tx) -> None:
    """Put the goods back, if they were taken."""
    because = _because(progress.locked(tx.session, paid.order_id, CANCELLED))
    _noted(tx, inventory.release(because, tx))


def schedule_shipping(reserved: InventoryReserved, tx: Tx) -> ShippingScheduled | ShippingFailed:
    """Find a carrier."""
    return _noted(tx, shipping.schedule(reserved, tx))


def cancel_shipping(reserved: InventoryReserved, tx: Tx) -> None:
    """Call the carrier off, if there is one."""
    shipping.cancel(reserved.order_id, tx)


# ---- the history


def _noted(tx: Tx, told: ToldT) -> ToldT:
    if told is not None:
        order = progress.locked(tx.session, told.order_id, told.topic)
        reason = told.reason if isinstance(told, Refusal) else None
        line = progress.happened_now(NEWS[told.topic].service, told.topic, reason)
        progress.note(tx.session, order, on_the_way(order.status, told.topic), line)
    return told


def _because(order: Order) -> Refusal:
    return Refusal(order_id=order.order_id, reason=order.reason or CALLED_OFF)


def _end(tx: Tx, order_id: str, topic: str, status: Status) -> None:
    order = progress.locked(tx.session, order_id, topic)
    reason = None if status is Status.COMPLETED else order.reason or CALLED_OFF
    book.change(tx.session, order_id, status, reason)
    progress.publish_end(tx.session, order, status, reason)
