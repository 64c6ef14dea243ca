"""Orders from request to end, by events alone."""

import json
import re

import pytest

from tests.lab.poll import eventually
from tests.loja.orders.outcomes import Outcomes, history
from tests.loja.orders.street import Street, order

AGAIN = """
import json, sys
from loja.app import app

FIND = "SELECT topic, data FROM trilho.log WHERE key = %s AND topic <> 'orders' ORDER BY topic DESC"
with app.transaction() as tx:
    found = tx.session.connection().exec_driver_sql(FIND, (sys.argv[1].encode(),)).fetchall() * 2
    for topic, data in found:
        app.bus.publish(topic, json.loads(bytes(data)), key=sys.argv[1])
print(len(found))
"""
"""Publish all events of an order twice more, in another order."""


@pytest.fixture(scope="module")
def strange(street: Street) -> str:
    """An event on `orders` of an order that nobody has placed here; it is given up while the other tests run."""
    publish = """from loja.app import app; app.bus.publish("orders", {"order_id": 999, "user_id": 1, "total": 9.5,
                 "timestamp": 1.0})"""
    street.run(publish)
    return "999"


@pytest.mark.usefixtures("strange")
class TestOutcomes(Outcomes):
    mode = "choreography"


def test_a_streamed_order_is_reserved_by_the_inventory_alone(street: Street) -> None:
    reserved = street.place(order(("POSTER", 3)), "stream")
    refused = street.place(order(("SOLD-OUT", 1)), "stream")
    assert street.ends(reserved, "RESERVED", "CANCELLED")["status"] == "RESERVED"
    shown = street.ends(refused)
    assert (shown["status"], shown["mode"], shown["reason"]) == ("CANCELLED", "stream", "SOLD-OUT: 1 wanted, 0 left")
    poster = next(one for one in street.all("/products") if one["sku"] == "POSTER")
    assert (poster["stock"], poster["reserved"], poster["shipped"]) == (47, 3, 0)
    assert reserved not in {one["order_id"] for one in street.all("/payments")}


@pytest.mark.parametrize("mode", ["choreography", "stream"])
def test_every_order_is_on_the_topic_that_other_programs_read(street: Street, mode: str) -> None:
    order_id = street.place(order(user_id=42), mode)
    wanted = "SELECT convert_from(data, 'UTF8') FROM trilho.log WHERE topic = 'orders' AND key = %s"
    [(data,)] = eventually(lambda: street.shop.query(wanted, order_id.encode()))
    found = json.loads(data)
    assert found.keys() == {"order_id", "user_id", "total", "timestamp", "mode"}
    assert (found["order_id"], found["user_id"], found["total"], found["mode"]) == (order_id, 42, 65.8, mode)
    assert isinstance(found["timestamp"], float)


def test_events_that_come_again_change_nothing(street: Street) -> None:
    order_id = street.place(order(("NOTEBOOK", 1), country="AQ"))
    street.ends(order_id)
    eventually(street.settled)
    before = (street.all("/payments"), street.all("/products"), history(street.order(order_id)))
    assert int(street.run(AGAIN, order_id)) == 2 * 8
    eventually(street.settled, timeout=30)
    assert (street.all("/payments"), street.all("/products"), history(street.order(order_id))) == before


def test_an_unknown_order_becomes_a_dead_letter(street: Street, strange: str) -> None:
    wanted = "SELECT error FROM trilho.dead_letters WHERE topic = 'orders' AND error LIKE %s"
    [(error,)] = eventually(lambda: street.shop.query(wanted, f"%{strange}%"), timeout=40)
    assert error == "UnknownOrder: orders: there is no order '999' here"


def test_money_and_goods_add_up(street: Street) -> None:
    street.check_that_all_adds_up()


def test_no_card_number_is_stored_published_or_logged(street: Street) -> None:
    card = "5555444433331111"
    street.ends(street.place(order(card=card)))
    tables = "SELECT schemaname || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname IN ('loja', 'trilho')"
    for (table,) in street.shop.query(tables):
        rows = street.shop.query(f"SELECT t::text FROM {table} t")
        assert not [row for (row,) in rows if card in row or card.encode().hex() in row], table
    for log in street.shop.folder.glob("*.log"):
        assert not re.search(card, log.read_text(errors="replace"))
