"""One order of the shop as one operation: by its own id, across four services that run as processes."""

from typing import Any

from tests.lab.poll import eventually
from tests.loja.orders.street import Street, order

Line = tuple[str, str, str]


def operation(street: Street, url: str) -> dict[str, Any]:
    answer = street.shop.client.get(url)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def settled(street: Street, url: str) -> dict[str, Any]:
    return eventually(lambda: operation(street, url), lambda shown: not shown["live"], timeout=40)


def lines(shown: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    return {(entry["name"], entry["state"]) for entry in shown["entries"] if entry["kind"] == kind}


def test_an_order_that_fails_at_the_carrier_is_one_timeline(street: Street) -> None:
    answer = street.shop.client.post("/orders", json=order(country="AQ"))
    order_id, correlation = answer.json()["order_id"], answer.headers["x-correlation-id"]
    url = answer.links["related"]["url"]
    assert url == f"/trilho/op/{order_id}"
    street.ends(order_id, "CANCELLED")
    assert street.shop.client.get(f"/orders/{order_id}").links["related"]["url"] == url
    shown = settled(street, url)
    assert shown["operations"] == [correlation]
    assert shown["state"] == "done"
    assert lines(shown, "request") == {("POST /orders", "202")}
    published = {name for name, _ in lines(shown, "event")}
    assert {"order.requested", "shipping.failed", "inventory.released", "payment.refunded"} <= published
    assert {("shipping-service", "done"), ("inventory-service", "done"), ("payment-service", "done")} <= lines(
        shown, "handler"
    )
    assert shown["entries"][0]["kind"] == "request"
    assert [entry["name"] for entry in shown["entries"] if entry["depth"] == 0] == ["POST /orders"]
    page = street.shop.client.get(url, headers={"Accept": "text/html"}).text
    assert "4111111111111111" not in page
    assert "shipping.failed" in page
