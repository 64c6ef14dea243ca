"""`/sagas`, in the router that an application mounts."""

from collections.abc import Iterator
from typing import get_args

import pytest
from fastapi import FastAPI

from tests.http.conftest import Client
from tests.http.server import served
from trilho import Saga, Trilho
from trilho.http import install, sagas_router
from trilho.http.sagas import State
from trilho.sagas.record import STATES


@pytest.fixture
def client(app: Trilho) -> Iterator[Client]:
    @app.saga
    async def place_order(saga: Saga, order: int) -> None:
        await saga.wait_signal("packed")

    for number in range(3):
        place_order.start(number, id=f"order/{number}")
    api = FastAPI()
    install(api, app)
    api.include_router(sagas_router(app))
    with served(api) as client:
        yield client


def test_runs_are_listed_page_by_page_and_shown(client: Client) -> None:
    page = client.get("/sagas", params={"limit": 2}).json()
    rest = client.get("/sagas", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [run["id"] for run in [*page["items"], *rest["items"]]] == ["order/2", "order/1", "order/0"]
    assert client.get("/sagas", params={"state": "STUCK"}).json() == {"items": [], "next_cursor": None}
    run = client.get("/sagas/order/1").json()
    assert (run["state"], run["args"], run["history"]) == ("RUNNING", {"order": 1}, [])
    for wrong in ({"cursor": "x"}, {"limit": 0}, {"state": "BOGUS"}, {"cursor": f"1:{'x' * 201}"}):
        assert client.get("/sagas", params=wrong).status_code == 422
    assert set(get_args(State)) == STATES
    assert "'COMPENSATED'" in client.get("/sagas", params={"state": "BOGUS"}).json()["detail"]


def test_runs_are_steered(client: Client) -> None:
    signal = {"name": "packed", "data": {"by": "ana"}, "message_id": "1"}
    assert client.post("/sagas/order/1/signal", json=signal).json()["state"] == "RUNNING"
    assert client.post("/sagas/order/1/cancel").status_code == 200
    refused = client.post("/sagas/order/1/retry")
    assert (refused.status_code, refused.json()["state"]) == (409, "RUNNING")
    assert client.post("/sagas/order/1/skip", json={"step": "1"}).status_code == 409
    assert client.post("/sagas/order/1/skip", json={}).status_code == 422


@pytest.mark.parametrize("path", ["/sagas/nobody", f"/sagas/{'x' * 300}", "/sagas/a%00b"])
def test_unknown_run_is_404(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:trilho:problem:unknown-saga")
