"""`/sagas`, in the router that an application mounts."""

import json
from collections.abc import Iterator
from typing import get_args

import pytest
from fastapi import FastAPI

from tests.http.conftest import Client
from tests.http.server import served
from tests.lab import database as databases
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


def test_what_cannot_be_stored_is_told_as_the_callers_mistake(client: Client) -> None:
    deep = json.loads("[" * 300 + "]" * 300)
    for verb, wrong, field in [
        ("signal", {"name": "a\x00b"}, "name"),
        ("signal", {"name": ""}, "name"),
        ("signal", {"name": "packed", "message_id": "\x00"}, "message_id"),
        ("signal", {"name": "packed", "data": deep}, "data"),
        ("skip", {"step": "a\x00b"}, "step"),
        ("skip", {"step": "1", "result": deep}, "result"),
    ]:
        answer = client.post(f"/sagas/order/1/{verb}", json=wrong)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert client.get("/sagas", params={"name": "a\x00b"}).status_code == 422


@pytest.mark.parametrize("path", ["/sagas/nobody", f"/sagas/{'x' * 300}", "/sagas/a%00b"])
def test_unknown_run_is_404(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:trilho:problem:unknown-saga")


STORED = [
    ('"\\ud800"', r"\ud800"),
    ('{"__type__": "base64", "__value__": "/w=="}', {"__type__": "base64", "__value__": "/w=="}),
    ('{"__type__": "nobody knows", "__value__": 1}', {"__type__": "nobody knows", "__value__": 1}),
    ("[NaN, 1e999]", ["NaN", "Infinity"]),
    ("[" * 190 + "]" * 190, json.loads("[" * 190 + "]" * 190)),
    ("[" * 5000 + "]" * 5000, None),
]


def test_no_value_that_is_stored_keeps_a_run_from_being_shown(client: Client, database: str) -> None:
    rows = "INSERT INTO trilho.sagas (id, name, version, state, queue, args, result, correlation_id, listens_from)"
    steps = "INSERT INTO trilho.saga_steps (saga_id, path, kind, name, state, args, result, ended_at)"
    with databases.connect(database) as connection:
        for number, (text, _) in enumerate(STORED):
            row = (f"odd-{number}", f'{{"what": {text}}}', text)
            connection.execute(f"{rows} VALUES (%s, 'odd', 1, 'WAITING', 'q', %s, %s, 'odd', now())".encode(), row)
            step = f"{steps} VALUES (%s, '1', 'step', 'pack', 'DONE', '[]', %s, now())"
            connection.execute(step.encode(), (f"odd-{number}", text))
    listed = {run["id"]: run for run in client.get("/sagas").json()["items"]}
    for number, (_, shown) in enumerate(STORED):
        run = client.get(f"/sagas/odd-{number}").json()
        assert listed[run["id"]]["args"] == run["args"]
        if shown is not None:
            assert (run["args"], run["result"], run["history"][0]["result"]) == ({"what": shown}, shown, shown)
        assert client.post(f"/sagas/odd-{number}/signal", json={"name": "go"}).status_code == 200
    for headers in ({"Accept": "text/html"}, {}):
        assert client.get("/trilho/op/odd", headers=headers).status_code == 200
