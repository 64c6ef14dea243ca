"""What `POST /orders` accepts and refuses; nobody handles the events."""

import copy
from typing import Any

import pytest

from tests.loja.orders.street import GOOD, order
from tests.loja.shop import Shop

ITEM = {"sku": "COFFEE", "quantity": 1}


def events_in(shop: Shop) -> int:
    return int(shop.query("SELECT count(*) FROM trilho.outbox")[0][0])


def test_an_order_is_accepted_with_where_to_look(idle_shop: Shop) -> None:
    answer = idle_shop.client.post("/orders", json=order())
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "order_id": body["order_id"],
        "status": "REQUESTED",
        "status_url": f"/orders/{body['order_id']}",
    }
    assert answer.headers["location"] == body["status_url"]
    shown = idle_shop.client.get(body["status_url"]).json()
    assert shown.keys() == {"order_id", "mode", "status", "total", "reason", "history"}
    assert (shown["mode"], shown["status"], shown["total"]) == ("choreography", "REQUESTED", "65.80")
    assert [(line["service"], line["event"]) for line in shown["history"]] == [("order", "order.requested")]


def test_lines_of_one_product_are_one_line(idle_shop: Shop) -> None:
    order_id = idle_shop.client.post("/orders", json=order(("MUG", 1), ("COFFEE", 1), ("MUG", 2))).json()["order_id"]
    [(items,)] = idle_shop.query("SELECT items FROM loja.orders WHERE order_id = %s", order_id)
    assert items == [{"sku": "COFFEE", "quantity": 1}, {"sku": "MUG", "quantity": 3}]


BAD: list[tuple[str, Any, str]] = [
    ("items", [{"sku": "NOTHING", "quantity": 1}], "there is no such product; there are COFFEE, "),
    ("items", [ITEM | {"quantity": 0}], "greater than or equal to 1"),
    ("items", [ITEM | {"quantity": -1}], "greater than or equal to 1"),
    ("items", [ITEM | {"quantity": 10**9}], "less than or equal to 1000"),
    ("items", [ITEM | {"quantity": 10**400}], ""),
    ("items", [ITEM | {"quantity": "2"}], "valid integer"),
    ("items", [ITEM | {"quantity": True}], "valid integer"),
    ("items", [ITEM | {"quantity": 1.5}], "valid integer"),
    ("items", [], "at least 1 item"),
    ("items", [ITEM] * 21, "at most 20 items"),
    ("items", None, "valid list"),
    ("card", "4000", "12 to 19 digits"),
    ("card", "4111 1111 1111 1111", "12 to 19 digits"),
    ("card", "٤" * 16, "12 to 19 digits"),
    ("card", GOOD + "\n", "12 to 19 digits"),
    ("card", 4111111111111111, "valid string"),
    ("user_id", "a\x00b", ""),
    ("user_id", "", ""),
    ("user_id", True, ""),
    ("user_id", "x" * 65, ""),
    ("address", {"street": "x\ny", "city": "y", "country": "BR"}, "one line"),
    ("address", {"street": "", "city": "y", "country": "BR"}, "1 to 200 characters"),
    ("address", {"street": "x", "city": "y", "country": "Brasil"}, "match pattern"),
    ("address", {"street": "x" * 201, "city": "y", "country": "BR"}, "1 to 200 characters"),
    ("nonsense", 1, "not permitted"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BAD)
def test_what_cannot_be_ordered_is_422_with_the_reason(idle_shop: Shop, field: str, value: Any, reason: str) -> None:
    before = events_in(idle_shop)
    answer = idle_shop.client.post("/orders", json=copy.deepcopy(order()) | {field: value})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
    errors = answer.json()["errors"]
    assert {error["field"].split(".")[0] for error in errors} == {field}
    assert any(reason in error["message"] for error in errors), errors
    assert events_in(idle_shop) == before


def test_a_refused_card_number_is_not_repeated(idle_shop: Shop) -> None:
    answer = idle_shop.client.post("/orders", json=order(card="41111111111111111111111"))
    assert answer.status_code == 422
    assert "41111" not in answer.text


@pytest.mark.parametrize("mode", ["", "saga", "STREAM"])
def test_an_unknown_mode_is_422(idle_shop: Shop, mode: str) -> None:
    answer = idle_shop.client.post("/orders", params={"mode": mode}, json=order())
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["mode"]


def test_an_order_and_its_saga_are_one_commit(idle_shop: Shop) -> None:
    answer = idle_shop.client.post("/orders?mode=orchestration", json=order())
    order_id = answer.json()["order_id"]
    assert answer.status_code == 202
    assert idle_shop.query("SELECT name FROM trilho.sagas WHERE id = %s", order_id) == [("place_order",)]
    both = "SELECT (SELECT xmin FROM loja.orders WHERE order_id = %s) = (SELECT xmin FROM trilho.sagas WHERE id = %s)"
    assert idle_shop.query(both, order_id, order_id) == [(True,)]


def test_what_is_no_state_of_the_desk_for_refunds_is_422(idle_shop: Shop) -> None:
    for body in ({}, {"open": "no"}, {"open": 1}, {"open": True, "since": "now"}):
        assert idle_shop.client.put("/payments/refunds", json=body).status_code == 422
    assert idle_shop.client.get("/payments/refunds").json() == {"open": True}


@pytest.mark.parametrize("order_id", ["019303f8-7c1e-7d1a-9f2b-0c9d6d3f9a11", "no-uuid"])
def test_an_unknown_order_is_a_problem(idle_shop: Shop, order_id: str) -> None:
    assert idle_shop.client.get(f"/orders/{order_id}").status_code == (422 if order_id == "no-uuid" else 404)


@pytest.mark.parametrize("path", ["/orders", "/products"])
def test_pages_follow_each_other(idle_shop: Shop, path: str) -> None:
    for _ in range(3):
        assert idle_shop.client.post("/orders", json=order()).status_code == 202
    whole = idle_shop.client.get(path, params={"limit": 500}).json()
    assert whole["next_cursor"] is None
    first = idle_shop.client.get(path, params={"limit": 2}).json()
    second = idle_shop.client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert first["items"] + second["items"] == whole["items"][:4]


def test_products_begin_with_full_shelves(idle_shop: Shop) -> None:
    products = {one["sku"]: one for one in idle_shop.client.get("/products").json()["items"]}
    coffee = products["COFFEE"]
    assert coffee == {
        "sku": "COFFEE",
        "name": "Coffee, 500 g",
        "price": "32.90",
        "initial_stock": 100_000,
        "stock": 100_000,
        "reserved": 0,
        "shipped": 0,
    }
    assert products["SOLD-OUT"]["stock"] == 0
