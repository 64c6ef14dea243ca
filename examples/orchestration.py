"""Orchestration: one function says what comes after what. Kill anything at any moment: it goes on, or is undone.

trilho up -A orchestration
trilho sagas start place_order --args '[{"order_id": "1", "total": 99.9, "card": "4111"}]' --id order-1 --wait
"""

from pydantic import BaseModel
from sqlalchemy import text

from trilho import PermanentError, Saga, Trilho, Tx

app = Trilho("orchestration")

REFUSED = "4000"


class Order(BaseModel):
    order_id: str
    total: float
    card: str


@app.on_migrate
def create_tables(connection):
    connection.execute("CREATE TABLE IF NOT EXISTS orders (order_id text PRIMARY KEY, status text NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS stock (order_id text PRIMARY KEY)")


def set_status(tx, order_id, status):
    statement = "INSERT INTO orders VALUES (:id, :status) ON CONFLICT (order_id) DO UPDATE SET status = :status"
    tx.session.execute(text(statement), {"id": order_id, "status": status})


# A function runs right here: what it writes through `tx`, and that it was done, are one commit.


def create_order(order: Order, tx: Tx) -> None:
    set_status(tx, order.order_id, "CREATED")


def cancel_order(order: Order, tx: Tx) -> None:
    set_status(tx, order.order_id, "CANCELLED")


def reserve_inventory(order: Order, tx: Tx) -> None:
    if order.total > 1000:
        raise PermanentError("there is not enough of it")  # no other attempt would help
    tx.session.execute(text("INSERT INTO stock VALUES (:id)"), {"id": order.order_id})


def release_inventory(order: Order, tx: Tx) -> None:
    tx.session.execute(text("DELETE FROM stock WHERE order_id = :id"), {"id": order.order_id})


def complete_order(order: Order, tx: Tx) -> None:
    set_status(tx, order.order_id, "COMPLETED")


# A task runs on its queue. What it does elsewhere is done at least once, with a key by which the bank knows it again.


@app.task
def charge_payment(order: Order) -> str:
    if order.card == REFUSED:
        raise PermanentError("the card was declined")
    return f"charged {order.total} as {app.idempotency_key()}"


@app.task
def refund_payment(order: Order, result: str | None = None) -> str:
    # Without a result nobody knows whether the card was charged: the bank finds it by the key, or has nothing to do.
    return f"gave {order.total} back for {app.idempotency_key()}"


@app.saga
async def place_order(saga: Saga, order: Order) -> str:
    await saga.step(create_order, order, undo=cancel_order)
    await saga.step(charge_payment, order, undo=refund_payment)
    await saga.step(reserve_inventory, order, undo=release_inventory)
    await saga.step(complete_order, order)
    return order.order_id
