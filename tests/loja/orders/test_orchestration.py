"""Orders by a saga: no events between the services, and so no consumers."""

import signal
from collections.abc import Iterator

import pytest

from tests.lab.poll import eventually
from tests.loja.orders.outcomes import CHARGED, Outcomes, history
from tests.loja.orders.street import Json, Street, opened, order
from tests.loja.shop import Shop

MODE = "orchestration"
FAULTS = ("saga.step_before_commit=kill@2", "saga.step_after_commit=kill", "saga.step_before=kill@2")


@pytest.fixture(scope="module")
def street(idle_shop: Shop) -> Iterator[Street]:
    with opened(idle_shop) as street:
        street.start("dispatcher")
        street.worker()
        yield street


def run(street: Street, order_id: str) -> Json:
    shown: Json = street.shop.client.get(f"/sagas/{order_id}").json()
    return shown


def undos(street: Street, order_id: str) -> list[str]:
    """The names of the undos that ended well, in their order."""
    steps = run(street, order_id)["history"]
    done = [step for step in steps if (step["kind"], step["state"]) == ("undo", "DONE")]
    return [step["name"].rpartition(".")[2] for step in sorted(done, key=lambda step: str(step["ended_at"]))]


def desk(street: Street, *, is_open: bool) -> None:
    wanted = {"open": is_open}
    assert street.shop.client.put("/payments/refunds", json=wanted).json() == wanted


def listed(street: Street, path: str, order_id: str) -> str:
    return str({one["order_id"]: one["status"] for one in street.all(path)}[order_id])


class TestOutcomes(Outcomes):
    mode = MODE


def test_all_steps_are_undone_newest_first(street: Street) -> None:
    order_id = street.place(order(country="AQ"), MODE)
    ended = eventually(lambda: run(street, order_id), lambda saga: saga["finished_at"], timeout=30)
    assert (ended["state"], ended["verdict"]) == ("COMPENSATED", "failed")
    assert undos(street, order_id) == ["cancel_shipping", "release_inventory", "refund_payment", "cancel_order"]


def test_a_refund_that_fails_leaves_orders_stuck_until_somebody_settles_them(street: Street) -> None:
    desk(street, is_open=False)
    retried, skipped = (street.place(order(country="AQ"), MODE) for _ in range(2))
    for order_id in (retried, skipped):
        shown = street.ends(order_id, "STUCK")
        assert "the desk for refunds is closed" in shown["reason"]
        assert history(shown)[-1] == ("inventory", "inventory.released")
        assert (listed(street, "/orders", order_id), listed(street, "/payments", order_id)) == ("STUCK", "CHARGED")

    desk(street, is_open=True)
    street.run("from trilho.cli.root import cli; cli()", "sagas", "retry", retried, "-A", "loja.app")
    shown = street.ends(retried)
    assert (shown["status"], shown["reason"]) == ("CANCELLED", "nobody delivers to AQ")
    assert history(shown)[-2:] == [("payment", "payment.refunded"), ("order", "order.cancelled")]

    by_hand = "UPDATE loja.payments SET status = 'REFUNDED' WHERE order_id = %s RETURNING order_id"
    assert street.shop.query(by_hand, skipped) == [(skipped,)]
    assert street.shop.client.post(f"/sagas/{skipped}/skip", json={"step": "2:undo"}).status_code == 200
    assert street.ends(skipped)["status"] == "CANCELLED"


def test_an_order_that_is_called_off_before_its_first_step_is_cancelled(street: Street) -> None:
    street.running["worker"].send_signal(signal.SIGSTOP)
    order_id = street.place(order(), MODE)
    assert street.shop.client.post(f"/sagas/{order_id}/cancel").status_code == 200
    street.running["worker"].send_signal(signal.SIGCONT)
    shown = street.ends(order_id)
    assert (shown["status"], shown["reason"]) == ("CANCELLED", "the order was called off")


def test_workers_killed_between_steps_lose_and_double_nothing(street: Street) -> None:
    street.kill("worker")
    placed = [street.place(body, MODE) for body in (order(("T-SHIRT", 3)), order(("T-SHIRT", 5), country="AQ"))]
    for fault in FAULTS:
        street.worker(fault, fault)
        eventually(lambda name=fault: street.ended(name), timeout=60)
    street.worker()
    good, undone = (street.ends(order_id) for order_id in placed)
    assert history(good)[:3] == CHARGED
    assert (good["status"], len(good["history"])) == ("COMPLETED", 6)
    assert (undone["status"], len(undone["history"])) == ("CANCELLED", 8)
    [shirt] = [one for one in street.all("/products") if one["sku"] == "T-SHIRT"]
    assert (shirt["stock"], shirt["reserved"], shirt["shipped"]) == (shirt["initial_stock"] - 3, 0, 3)


def test_money_and_goods_add_up(street: Street) -> None:
    street.start("consumer")  # nobody else reads `orders`
    street.check_that_all_adds_up()
