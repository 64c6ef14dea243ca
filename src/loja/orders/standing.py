"""Orders as they stand: what their sagas know, and no step of them can write down any more."""

from dataclasses import replace

from loja.app import app
from loja.orders.order import Order
from loja.orders.saga import CALLED_OFF
from loja.orders.status import ENDS, Status
from trilho import UnknownSaga


def as_it_stands(order: Order) -> Order:
    """The order: STUCK while its saga waits for a person, cancelled if that was called off before its first step."""
    if order.mode != "orchestration" or order.status in ENDS:
        return order
    try:
        run = app.sagas.get(order.order_id).run()
    except UnknownSaga:  # removed long after its end
        return order
    if run.state == "STUCK":
        return replace(order, status=Status.STUCK, reason=run.stuck)
    if run.state == "COMPENSATED":
        return replace(order, status=Status.CANCELLED, reason=order.reason or CALLED_OFF)
    return order
