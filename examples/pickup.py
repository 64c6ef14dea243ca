"""A saga that waits for an event, with a deadline: goods are kept for three days for whoever comes to collect them.

    trilho up -A pickup
    trilho sagas start pick_up --args '["1"]' --id pickup-1
    trilho events produce parcel.collected '{"by": "Ana"}' --key 1

While it waits it is a row: no process, no connection and no memory, however many wait, and for however long.
"""

from datetime import timedelta

from sqlalchemy import text

from trilho import Saga, SagaTimeout, Trilho, Tx

app = Trilho("pickup")


@app.on_migrate
def create_tables(connection):
    connection.execute("CREATE TABLE IF NOT EXISTS counter (order_id text PRIMARY KEY)")


def put_aside(order_id: str, tx: Tx) -> None:
    tx.session.execute(text("INSERT INTO counter VALUES (:id)"), {"id": order_id})


def put_back(order_id: str, tx: Tx) -> None:
    tx.session.execute(text("DELETE FROM counter WHERE order_id = :id"), {"id": order_id})


@app.task
def remind(order_id: str) -> str:
    return f"order {order_id} waits for you until tomorrow"


@app.saga(events=("parcel.collected",))
async def pick_up(saga: Saga, order_id: str) -> str:
    await saga.step(put_aside, order_id, undo=put_back)
    try:
        collected = await saga.wait_event("parcel.collected", key=order_id, timeout=timedelta(days=2))
    except SagaTimeout:  # caught: the saga goes on
        await saga.step(remind, order_id)
        collected = await saga.wait_event("parcel.collected", key=order_id, timeout=timedelta(days=1))
    return collected["by"]  # nobody came: the second SagaTimeout escapes, and the goods go back
