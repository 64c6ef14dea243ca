"""The steps of an order's saga, in this process: each once for an order, and each undo right whatever was done."""

import inspect
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from loja.app import app
from loja.contracts.card import DECLINED_NUMBER
from loja.orders import book, intake, saga
from loja.orders.intake import place
from loja.orders.schemas import NewAddress, NewItem, NewOrder
from loja.payments import desk
from loja.payments.desk import RefundsClosed
from loja.payments.steps import refund
from tests.lab import database as databases
from trilho import Tx
from trilho.events.outbox import OutboxSink
from trilho.testing import Harness

Counts = tuple[int, int, int]

charge_payment, refund_payment = (inspect.unwrap(task.run) for task in (saga.charge_payment, saga.refund_payment))


@pytest.fixture(scope="module")
def shop(postgres_server: str, template: str) -> Iterator[Harness]:
    url = databases.create(postgres_server, template=template)
    with Harness(app, url) as harness, pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.bus, "outbox", OutboxSink(lambda: None))  # nobody is to be told: there is no relay
        app.migrate()
        harness.replay_sagas()
        yield harness
    databases.drop(url)


def new(sku: str = "MUG", card: str = "4111111111111111", country: str = "BR") -> NewOrder:
    address = NewAddress(street="Rua Augusta 100", city="São Paulo", country=country)
    return NewOrder(user_id="ana", items=[NewItem(sku=sku, quantity=2)], card=card, address=address)


def counts(tx: Tx, sku: str = "MUG") -> Counts:
    wanted = "SELECT stock, reserved, shipped FROM loja.products WHERE sku = %s"
    row: Any = tx.session.connection().exec_driver_sql(wanted, (sku,)).one()
    return tuple(row)


def status(order_id: str) -> str:
    with app.transaction() as tx:
        found = book.get(tx.session, order_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (new(), "COMPLETED"),
        (new(card=DECLINED_NUMBER), "CANCELLED"),
        (new("SOLD-OUT"), "CANCELLED"),
        (new(country="AQ"), "CANCELLED"),
    ],
    ids=["completed", "declined", "sold out", "undeliverable"],
)
def test_the_saga_plays_the_same_after_each_of_its_steps(shop: Harness, body: NewOrder, state: str) -> None:
    order = place(body, "orchestration")
    shop.run_until_idle()
    assert status(order.order_id) == state


def test_every_step_and_undo_may_come_again(shop: Harness) -> None:
    order = place(new(), "stream")  # stored, and nobody else works on it here
    requested = intake.requested(order, intake.tokenised("4111111111111111"))
    with app.transaction() as tx:
        before = counts(tx)
        for _ in range(2):
            created = saga.create_order(requested, tx)
            paid = charge_payment(created, tx)
            assert paid.amount == Decimal("90.00")
            reserved = saga.reserve_inventory(paid, tx)
            saga.schedule_shipping(reserved, tx)
        assert counts(tx) == (before[0] - 2, before[1] + 2, before[2])
        for _ in range(2):
            saga.complete_order(created, tx)
        assert counts(tx) == (before[0] - 2, before[1], before[2] + 2)
        for _ in range(2):  # called off in the last moment
            saga.cancel_shipping(reserved, tx)
            saga.release_inventory(paid, tx)
            refund_payment(created, tx)
            saga.cancel_order(requested, tx)
        assert counts(tx) == before
        events = [line.event for line in book.history(tx.session, order.order_id)]
    assert events[-4:] == ["order.completed", "inventory.released", "payment.refunded", "order.cancelled"]
    assert status(order.order_id) == "CANCELLED"


def test_undos_of_steps_that_did_nothing_do_nothing(shop: Harness) -> None:
    order = place(new(), "stream")
    requested = intake.requested(order, intake.tokenised("4111111111111111"))
    with app.transaction() as tx:
        before = counts(tx)
        created = saga.create_order(requested, tx)
        refund_payment(created, tx)
        paid = charge_payment(created, tx)
        saga.release_inventory(paid, tx)
        assert counts(tx) == before
        assert "payment.refunded" not in [line.event for line in book.history(tx.session, order.order_id)]


def test_no_money_is_given_back_while_the_desk_is_closed(shop: Harness) -> None:
    order = place(new(), "stream")
    requested = intake.requested(order, intake.tokenised("4111111111111111"))
    with app.transaction() as tx:
        created = saga.create_order(requested, tx)
        charge_payment(created, tx)
        because = saga.Refusal(order_id=order.order_id, reason="somebody changed their mind")
        desk.change(tx.session, to_open=False)
        with pytest.raises(RefundsClosed, match="PUT /payments/refunds"):
            refund(because, tx)
        for _ in range(2):
            desk.change(tx.session, to_open=True)
        assert refund(because, tx) is not None
        assert refund(because, tx) is None
