"""What becomes of orders, however the services work together: to be inherited, with a `mode`."""

from tests.lab.poll import eventually
from tests.loja.orders.street import DECLINED, Json, Street, order

Line = tuple[str, str]

BEGIN: list[Line] = [("order", "order.requested"), ("order", "order.created")]
CHARGED = [*BEGIN, ("payment", "payment.completed")]
END = ("order", "order.cancelled")


def history(shown: Json) -> list[Line]:
    return [(line["service"], line["event"]) for line in shown["history"]]


class Outcomes:
    mode = ""

    def placed(self, street: Street, body: Json, *, lines: int) -> Json:
        """The order when it has ended, and its history is written."""
        order_id = street.place(body, self.mode)
        street.ends(order_id)
        return eventually(lambda: street.order(order_id), lambda shown: len(shown["history"]) >= lines, timeout=30)

    def test_an_order_is_completed(self, street: Street) -> None:
        before = self.coffee(street)["shipped"]
        shown = self.placed(street, order(("COFFEE", 2), ("MUG", 1)), lines=6)
        order_id = shown["order_id"]
        assert (shown["mode"], shown["status"]) == (self.mode, "COMPLETED")
        assert (shown["total"], shown["reason"]) == ("110.80", None)
        reserved, scheduled = ("inventory", "inventory.reserved"), ("shipping", "shipping.scheduled")
        assert history(shown) == [*CHARGED, reserved, scheduled, ("order", "order.completed")]
        assert {"order_id": order_id, "amount": "110.80", "status": "CHARGED"} in street.all("/payments")
        assert {"order_id": order_id, "status": "SCHEDULED"} in street.all("/shipments")
        coffee = eventually(lambda: self.coffee(street), lambda coffee: coffee["shipped"] == before + 2)
        assert (coffee["stock"], coffee["reserved"]) == (coffee["initial_stock"] - before - 2, 0)

    def coffee(self, street: Street) -> Json:
        return next(one for one in street.all("/products") if one["sku"] == "COFFEE")

    def test_a_declined_card_cancels_the_order(self, street: Street) -> None:
        shown = self.placed(street, order(card=DECLINED), lines=4)
        assert (shown["status"], shown["reason"]) == ("CANCELLED", "the card that ends in 0002 was declined")
        assert history(shown) == [*BEGIN, ("payment", "payment.failed"), END]
        payment = {"order_id": shown["order_id"], "amount": "65.80", "status": "DECLINED"}
        assert payment in street.all("/payments")

    def test_a_sold_out_product_gives_the_money_back(self, street: Street) -> None:
        shown = self.placed(street, order(("COFFEE", 1), ("SOLD-OUT", 1)), lines=6)
        assert (shown["status"], shown["reason"]) == ("CANCELLED", "SOLD-OUT: 1 wanted, 0 left")
        failed, refunded = ("inventory", "inventory.failed"), ("payment", "payment.refunded")
        assert history(shown) == [*CHARGED, failed, refunded, END]
        payment = {"order_id": shown["order_id"], "amount": "132.80", "status": "REFUNDED"}
        assert payment in street.all("/payments")

    def test_an_undeliverable_address_undoes_all_in_reverse_order(self, street: Street) -> None:
        shown = self.placed(street, order(country="AQ"), lines=8)
        assert (shown["status"], shown["reason"]) == ("CANCELLED", "nobody delivers to AQ")
        assert history(shown)[3:] == [
            ("inventory", "inventory.reserved"),
            ("shipping", "shipping.failed"),
            ("inventory", "inventory.released"),
            ("payment", "payment.refunded"),
            END,
        ]
        assert {line["detail"] for line in shown["history"][4:7]} == {"nobody delivers to AQ"}
        assert {"order_id": shown["order_id"], "status": "CANCELLED"} in street.all("/shipments")
