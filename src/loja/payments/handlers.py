"""What the payment service does about events."""

from loja.app import app
from loja.contracts import topics
from loja.contracts.errors import UnknownOrder
from loja.contracts.events import InventoryFailed, InventoryReleased, OrderCreated, Refusal
from loja.payments import ledger
from loja.payments.payment import charged
from loja.payments.steps import give_back
from trilho import Event, Tx

GROUP = "payment-service"


@app.bus.subscribe(OrderCreated.topic, group=GROUP)
def charge(order: OrderCreated, tx: Tx) -> None:
    """Charge the card, once."""
    payment, told = charged(order)
    if ledger.add(tx.session, payment):
        topics.publish(app, told)


@app.bus.subscribe(InventoryFailed.topic, InventoryReleased.topic, group=GROUP)
def refund(event: Event[Refusal], tx: Tx) -> None:
    """Give the money back, once; raises UnknownOrder, RefundsClosed."""
    payment = ledger.locked(tx.session, event.data.order_id)
    if payment is None:
        raise UnknownOrder(event.data.order_id, event.topic)
    told = give_back(tx.session, payment, event.data)
    if told is not None:
        topics.publish(app, told)
