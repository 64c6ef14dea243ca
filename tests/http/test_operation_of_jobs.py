"""Jobs of an operation: what a body enqueues and publishes stands under it, whatever kind of call it was."""

from collections.abc import Iterator

import httpx
import pytest
from celery import chain
from fastapi import FastAPI

from tests.http.server import served
from trilho import Trilho, Unique
from trilho.http import install
from trilho.testing import Harness


@pytest.fixture
def shop(app: Trilho, database: str) -> Iterator[httpx.Client]:
    @app.task(shared=False, name="pack")
    def pack(order: str) -> str:
        app.bus.publish("order.packed", {}, key=order)
        send.delay(order)
        return order

    @app.task(shared=False, name="send", unique=Unique())
    def send(order: str) -> str:
        return order

    @app.task(shared=False, name="flaky", bind=True, max_retries=1)
    def flaky(self, order: str) -> None:  # type: ignore[no-untyped-def]
        if not self.request.retries:
            raise self.retry(countdown=0, exc=TimeoutError("busy"))
        app.bus.publish("order.tried", {}, key=order)

    api = FastAPI()
    install(api, app)

    @api.post("/pack")
    def post_pack() -> None:
        pack.delay("order-1")

    @api.post("/chain")
    def post_chain() -> None:
        chain(pack.s("order-2"), send.s()).apply_async()

    @api.post("/flaky")
    def post_flaky() -> None:
        flaky.delay("order-3")

    with Harness(app, database), served(api) as client:
        yield client


def told(app: Trilho, database: str, shop: httpx.Client, path: str) -> list[tuple[int, str, str, str]]:
    correlation = shop.post(path).headers["x-correlation-id"]
    Harness(app, database).run_until_idle()
    entries = shop.get(f"/trilho/op/{correlation}").json()["entries"]
    return [(entry["depth"], entry["kind"], entry["name"], entry["state"]) for entry in entries]


def test_what_a_body_brought_about_stands_under_its_job(app: Trilho, database: str, shop: httpx.Client) -> None:
    assert told(app, database, shop, "/pack") == [
        (0, "request", "POST /pack", "200"),
        (1, "job", "pack", "SUCCESS"),
        (2, "event", "order.packed", "published"),
        (2, "job", "send", "SUCCESS"),
    ]


def test_the_links_of_a_chain_follow_each_other(app: Trilho, database: str, shop: httpx.Client) -> None:
    lines = told(app, database, shop, "/chain")
    assert lines[:2] == [(0, "request", "POST /chain", "200"), (1, "job", "pack", "SUCCESS")]
    assert (2, "job", "send", "SUCCESS") in lines
    assert {state for _, kind, _, state in lines if kind == "job"} == {"SUCCESS"}


def test_a_retried_job_is_one_entry_and_stays_in_its_operation(app: Trilho, database: str, shop: httpx.Client) -> None:
    assert told(app, database, shop, "/flaky")[1:] == [
        (1, "job", "flaky", "SUCCESS"),
        (2, "event", "order.tried", "published"),
    ]
    [job] = [e for e in shop.get("/trilho/op/order-3").json()["entries"] if e["kind"] == "job"]
    attempts = [(span["state"], span["error"]) for span in job["spans"] if span["label"] != "waiting"]
    assert [state for state, _ in attempts] == ["RETRY", "SUCCESS"]
    assert "busy" in attempts[0][1]
