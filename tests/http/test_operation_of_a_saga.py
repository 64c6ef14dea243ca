"""A saga that a request started, as its page shows it: stretches, steps, the tasks of steps, undos."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from tests.http.server import served
from trilho import PermanentError, Saga, Trilho, Tx
from trilho.http import install
from trilho.testing import Harness


def cancel(tx: Tx) -> None: ...


def ship() -> None:
    raise PermanentError("no carrier")


@pytest.fixture
def shop(app: Trilho) -> Iterator[httpx.Client]:
    @app.task(shared=False, name="charge")
    def charge(order: str) -> str:
        return f"{order} charged"

    @app.task(shared=False, name="refund")
    def refund(order: str) -> None: ...

    def create(tx: Tx) -> str:
        app.bus.publish("order.created", {}, key="order-9")
        return "order-9"

    @app.saga
    async def place_order(saga: Saga) -> None:
        order = await saga.step(create, undo=cancel)
        await saga.step(charge, order, undo=refund)
        await saga.step(ship)

    api = FastAPI()
    install(api, app)

    @api.post("/orders")
    def post() -> str:
        return str(place_order.start(id="saga-9").id)

    with served(api) as client:
        yield client


def test_a_failed_saga_is_told_from_request_to_the_last_undo(app: Trilho, database: str, shop: httpx.Client) -> None:
    with Harness(app, database) as harness:
        correlation = shop.post("/orders").headers["x-correlation-id"]
        harness.run_until_idle()
    shown = shop.get("/trilho/op/saga-9").json()
    assert shown["operations"] == [correlation]
    assert shown == shop.get(f"/trilho/op/{correlation}").json() | {"id": "saga-9", "now": shown["now"]}
    lines = [(entry["depth"], entry["kind"], entry["name"], entry["state"]) for entry in shown["entries"]]
    assert lines[:2] == [(0, "request", "POST /orders", "200"), (1, "saga", "place_order", "COMPENSATED")]
    told = [line for line in lines if line[1] in {"step", "undo"}]
    assert [(name, state) for _, _, name, state in told] == [
        ("create", "DONE"),
        ("charge", "DONE"),
        ("ship", "FAILED"),
        ("refund", "DONE"),
        ("cancel", "DONE"),
    ]
    assert {depth for depth, *_ in told} == {2}
    assert (3, "job", "charge", "SUCCESS") in lines
    assert (3, "event", "order.created", "published") in lines  # under the stretch that published it
    stretches = [line for line in lines if line[2] == "trilho.saga.place_order"]
    assert len(stretches) >= 2
    assert {state for *_, state in stretches} == {"SUCCESS"}
    assert shown["state"] == "undone"
