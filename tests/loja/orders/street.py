"""Four services, a relay and consumers on one street: the shop as processes, and what its orders come to."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.loja.shop import Shop
from trilho.embedded import leash

ENDS = {"COMPLETED", "CANCELLED"}
DECLINED, GOOD = "4000000000000002", "4111111111111111"

Json = dict[str, Any]


def order(*items: tuple[str, int], card: str = GOOD, country: str = "BR", user_id: str | int = "ana") -> Json:
    """The body of `POST /orders`."""
    return {
        "user_id": user_id,
        "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items or (("COFFEE", 2),)],
        "card": card,
        "address": {"street": "Rua Augusta 100", "city": "São Paulo", "country": country},
    }


def random_order(number: int, choose: random.Random) -> Json:
    """Of each six orders one fails at each stage."""
    skus = choose.sample(["COFFEE", "MUG", "NOTEBOOK", "T-SHIRT"], 2)
    items = [(sku, choose.randint(1, 3)) for sku in skus]
    failing = {0: {"card": DECLINED}, 1: {"country": "AQ"}}.get(number % 6, {})
    return order(*items, *([("SOLD-OUT", 1)] if number % 6 == 2 else []), **failing)


@dataclass
class Street:
    """A shop with an API, and the processes that move its events."""

    shop: Shop
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, fault: str = "") -> None:
        """A `dispatcher` (it has the relay) or a consumer, armed with a fault point."""
        command = ["dispatcher"] if name == "dispatcher" else ["consumer", "-n", name]
        self._run(name, [sys.executable, "-m", "trilho.cli", *command, "-A", "loja.app"], fault)

    def _run(self, name: str, command: Sequence[str], fault: str) -> None:
        leashed = leash.command(os.getpid(), signal.SIGKILL, -1, -1, command)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "LOJA_"))}
        with (self.shop.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                leashed,
                cwd=ROOT,
                env=own | self.shop.environment | {"TRILHO_FAULT": fault},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def worker(self, name: str = "worker", fault: str = "") -> None:
        """A worker, which plays sagas, armed with a fault point."""
        command = ["-m", "celery", "-A", "loja.app", "worker", "-P", "solo", "-n", name, "--without-mingle"]
        self._run(name, [sys.executable, *command], fault)

    def run(self, code: str, *arguments: str) -> str:
        """What some Python prints that runs beside the shop."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "LOJA_"))}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=own | self.shop.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def ended(self, name: str) -> bool:
        return self.running[name].poll() is not None

    def place(self, body: Json, mode: str = "choreography") -> str:
        answer = self.shop.client.post("/orders", params={"mode": mode}, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["order_id"])

    def order(self, order_id: str) -> Json:
        answer = self.shop.client.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown

    def ends(self, order_id: str, *statuses: str, timeout: float = 60.0) -> Json:
        """The order once it has one of these statuses, or has ended."""
        return eventually(
            lambda: self.order(order_id), lambda shown: shown["status"] in (statuses or ENDS), timeout=timeout
        )

    def all(self, path: str) -> list[Json]:
        """All items of a list, page by page."""
        found: list[Json] = []
        cursor: Json = {}
        while True:
            answer = self.shop.client.get(path, params={"limit": 100, **cursor})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def settled(self) -> bool:
        """Whether no event is on its way any more."""
        # One statement: an event that moves from one place to the next is seen in one of them.
        waiting = """SELECT (SELECT count(*) FROM trilho.outbox) + (SELECT count(*) FROM trilho.parked_events)
                          + (SELECT count(*) FROM trilho.sagas WHERE finished_at IS NULL)
                          + (SELECT count(*) FROM trilho.offsets o JOIN trilho.log_partitions p USING (topic, partition)
                             WHERE o.next_offset < p.next_offset)"""
        return self.shop.query(waiting) == [(0,)]

    def check_that_all_adds_up(self) -> None:
        """Money and goods, as anyone can see them."""
        eventually(self.settled, timeout=30)
        orders = {one["order_id"]: one for one in self.all("/orders")}
        payments = {one["order_id"]: one for one in self.all("/payments")}
        charged = sum(Decimal(one["amount"]) for one in payments.values() if one["status"] == "CHARGED")
        completed = {name for name, one in orders.items() if one["status"] == "COMPLETED"}
        assert charged == sum(Decimal(orders[name]["total"]) for name in completed)
        products = self.all("/products")
        assert [p["sku"] for p in products if p["stock"] + p["reserved"] + p["shipped"] != p["initial_stock"]] == []
        scheduled = {one["order_id"] for one in self.all("/shipments") if one["status"] == "SCHEDULED"}
        assert scheduled == completed
        kept = "SELECT count(*) FROM loja.reservations WHERE status = 'RESERVED'"
        streamed = [one for one in orders.values() if one["mode"] == "stream" and one["status"] == "RESERVED"]
        assert self.shop.query(kept) == [(len(streamed),)]


@contextmanager
def opened(shop: Shop) -> Iterator[Street]:
    """A street whose processes end with the test."""
    street = Street(shop)
    try:
        yield street
    finally:
        for name in list(street.running):
            street.kill(name)
