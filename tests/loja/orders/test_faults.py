"""Consumers are killed in the middle of many orders: all end, and everything adds up."""

import random

import pytest

from tests.lab.poll import eventually
from tests.loja.orders.street import ENDS, opened, random_order
from tests.loja.shop import Shop

ORDERS = 200


@pytest.mark.timeout(280)
def test_consumers_killed_in_the_middle_of_200_orders_lose_and_double_nothing(idle_shop: Shop) -> None:
    choose = random.Random(5)
    with opened(idle_shop) as street:
        street.start("dispatcher")
        for number in range(ORDERS):
            street.place(random_order(number, choose), "stream" if number % 7 == 0 else "choreography")
        street.start("first", "consume.before_commit=kill@150")
        street.start("second")
        eventually(lambda: street.ended("first"), timeout=90)
        street.start("third", "consume.after_commit=kill@100")
        street.kill("second")
        eventually(lambda: street.ended("third"), timeout=90)
        street.start("fourth")
        eventually(street.settled, timeout=90, every=0.5)
        orders = street.all("/orders")
        assert len(orders) == ORDERS
        streamed = [one for one in orders if one["mode"] == "stream"]
        assert {one["status"] for one in orders if one["mode"] != "stream"} == ENDS
        assert {one["status"] for one in streamed} == {"RESERVED", "CANCELLED"}
        street.check_that_all_adds_up()
        assert idle_shop.query("SELECT count(*) FROM trilho.dead_letters") == [(0,)]
