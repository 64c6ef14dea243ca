"""The decisions of the four services together, whatever the order in which events come, and however often."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from loja.contracts.card import DECLINED
from loja.contracts.events import (
    Address,
    Card,
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    Item,
    OrderCreated,
    OrderEvent,
    OrderRequested,
    PaymentCompleted,
    Refusal,
    ShippingFailed,
    ShippingScheduled,
)
from loja.inventory import reservation as inventory
from loja.inventory.reservation import Move, Reservation, lacking, put_aside, put_back, sent
from loja.orders.status import NEWS, REQUESTED, Status, after, ended
from loja.payments import payment as payments
from loja.payments.payment import Payment, charged, refunded
from loja.shipping import shipment as shipping
from loja.shipping.shipment import Shipment, planned

SHELVES = {"A": 5, "B": 3, "SOLD-OUT": 0}
PRICE = Decimal("9.90")


class NotYet(Exception):
    """The handler raises; the event is tried again later."""


@dataclass
class World:
    """What the four services have stored, and the events on their way, once for each group."""

    orders: dict[str, Status] = field(default_factory=dict)
    totals: dict[str, Decimal] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    shipments: dict[str, Shipment] = field(default_factory=dict)
    stock: Counter[str] = field(default_factory=lambda: Counter(SHELVES))
    reserved: Counter[str] = field(default_factory=Counter)
    shipped: Counter[str] = field(default_factory=Counter)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    flying: list[tuple[Callable[[OrderEvent], None], OrderEvent]] = field(default_factory=list)

    def publish(self, *events: OrderEvent) -> None:
        for event in events:
            self.sent[event.order_id, event.topic] += 1
            self.flying += [(handler, event) for handler in self.handlers(event)]

    def handlers(self, event: OrderEvent) -> list[Callable[[OrderEvent], None]]:
        services: dict[str, Callable[[OrderEvent], None]] = {
            "order.created": self.charge,
            "payment.completed": self.reserve,
            "inventory.reserved": self.ship,
            "inventory.failed": self.refund,
            "inventory.released": self.refund,
            "shipping.failed": self.release,
            "shipping.scheduled": self.hand_over,
        }
        listening = [self.learn] if event.topic in {REQUESTED, *NEWS} else []
        return [*listening, *([services[event.topic]] if event.topic in services else [])]

    # ---- the four services, with dictionaries for tables

    def learn(self, event: OrderEvent) -> None:
        before = self.orders[event.order_id]
        self.orders[event.order_id] = now = after(before, event.topic)
        if isinstance(event, OrderRequested) and now is not before:
            self.publish(OrderCreated(**dict(event)))
        if event.topic != REQUESTED:
            self.publish(*ended(event.order_id, before, now, getattr(event, "reason", None)))

    def charge(self, event: OrderEvent) -> None:
        assert isinstance(event, OrderCreated)
        payment, told = charged(event)
        if self.payments.setdefault(event.order_id, payment) is payment:
            self.publish(told)

    def refund(self, event: OrderEvent) -> None:
        assert isinstance(event, Refusal)
        payment = self.payments.get(event.order_id)
        if payment is None:
            raise NotYet
        if told := refunded(payment, event):
            self.payments[event.order_id] = Payment(payment.order_id, payment.amount, payments.Status.REFUNDED)
            self.publish(told)

    def reserve(self, event: OrderEvent) -> None:
        assert isinstance(event, PaymentCompleted)
        if event.order_id in self.reservations:
            return
        why_not = lacking(event.items, self.stock)
        status = inventory.Status.REFUSED if why_not else inventory.Status.RESERVED
        self.reservations[event.order_id] = Reservation(event.order_id, status, tuple(event.items))
        if why_not:
            self.publish(InventoryFailed(order_id=event.order_id, reason=why_not))
            return
        self.move(put_aside(event.items))
        self.publish(InventoryReserved(order_id=event.order_id, address=event.address))

    def release(self, event: OrderEvent) -> None:
        assert isinstance(event, ShippingFailed)
        if moves := put_back(self.reservation(event.order_id)):
            self.move(moves)
            self.turn(event.order_id, inventory.Status.RELEASED)
            self.publish(InventoryReleased(order_id=event.order_id, reason=event.reason))

    def hand_over(self, event: OrderEvent) -> None:
        assert isinstance(event, ShippingScheduled)
        if moves := sent(self.reservation(event.order_id)):
            self.move(moves)
            self.turn(event.order_id, inventory.Status.SHIPPED)

    def ship(self, event: OrderEvent) -> None:
        assert isinstance(event, InventoryReserved)
        shipment, told = planned(event)
        if self.shipments.setdefault(event.order_id, shipment) is shipment:
            self.publish(told)

    def reservation(self, order_id: str) -> Reservation:
        if order_id not in self.reservations:
            raise NotYet
        return self.reservations[order_id]

    def turn(self, order_id: str, status: inventory.Status) -> None:
        self.reservations[order_id] = Reservation(order_id, status, self.reservations[order_id].items)

    def move(self, moves: list[Move]) -> None:
        for one in moves:
            assert one.stock + one.reserved + one.shipped == 0
            self.stock[one.sku] += one.stock
            self.reserved[one.sku] += one.reserved
            self.shipped[one.sku] += one.shipped
            assert min(self.stock[one.sku], self.reserved[one.sku], self.shipped[one.sku]) >= 0


orders = st.builds(
    OrderRequested,
    order_id=st.just(""),
    user_id=st.just("ana"),
    total=st.integers(1, 50).map(lambda count: count * PRICE),
    items=st.lists(
        st.builds(Item, sku=st.sampled_from(sorted(SHELVES)), quantity=st.integers(1, 3)),
        min_size=1,
        max_size=2,
        unique_by=lambda item: item.sku,
    ),
    card=st.sampled_from([Card(token="tok_1", last_four="1111"), Card(token=f"{DECLINED}1", last_four="0002")]),
    address=st.sampled_from(["BR", "AQ"]).map(lambda country: Address(street="s", city="c", country=country)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(orders, min_size=1, max_size=5), st.data())
def test_any_order_and_repetition_of_events_ends_with_money_and_goods_that_add_up(
    requests: list[OrderRequested], data: st.DataObject
) -> None:
    world = World()
    for number, request in enumerate(requests):
        event = request.model_copy(update={"order_id": str(number)})
        world.orders[event.order_id], world.totals[event.order_id] = Status.REQUESTED, event.total
        world.publish(event)
    again = 40
    while world.flying:
        chosen = data.draw(st.integers(0, len(world.flying) - 1))
        handler, event = world.flying[chosen]
        if again and data.draw(st.booleans()):
            again -= 1  # handled, and there once more
        else:
            del world.flying[chosen]
        handler(event)
    assert set(world.orders.values()) <= {Status.COMPLETED, Status.CANCELLED}
    completed = {name for name, status in world.orders.items() if status is Status.COMPLETED}
    kept = [one for one in world.payments.values() if one.status is payments.Status.CHARGED]
    assert sum(one.amount for one in kept) == sum(world.totals[name] for name in completed)
    assert {one.order_id for one in world.shipments.values() if one.status is shipping.Status.SCHEDULED} == completed
    assert +world.reserved == Counter()
    assert world.stock + world.shipped == +Counter(SHELVES)
    assert set(world.sent.values()) <= {1}, "nothing is published twice, whatever is handled twice"


@given(st.sampled_from(list(Status)), st.lists(st.sampled_from(sorted([REQUESTED, *NEWS]))))
def test_an_order_never_goes_backwards_and_never_leaves_its_end(status: Status, topics: list[str]) -> None:
    for topic in topics:
        following = after(status, topic)
        assert list(Status).index(following) >= list(Status).index(status)
        assert following is status or status not in {Status.COMPLETED, Status.CANCELLED, Status.STUCK}
        status = following


@given(st.sampled_from(list(payments.Status)))
def test_money_goes_back_once_and_only_where_it_was_taken(status: payments.Status) -> None:
    because = ShippingFailed(order_id="1", reason="nobody delivers to AQ")
    told = refunded(Payment("1", PRICE, status), because)
    assert (told is not None) == (status is payments.Status.CHARGED)
    assert told is None or (told.amount, told.reason) == (PRICE, because.reason)
