"""`choreography.py`, `orchestration.py` and `pickup.py`, as they stand, on a real PostgreSQL."""

import importlib.util
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from tests.examples.conftest import EXAMPLES
from tests.lab import database as databases
from tests.lab.poll import eventually
from trilho import SagaHandle, Trilho
from trilho.events.relay import Relay
from trilho.testing import Harness

Load: TypeAlias = Callable[[str], ModuleType]


class Someone:
    incarnation = uuid.uuid4()


@pytest.fixture
def load(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import an example by its name; its tables are made, and what it connects to is closed afterwards."""
    monkeypatch.setenv("TRILHO_DATABASE_URL", database)
    monkeypatch.setenv("TRILHO_BROKER_URL", "memory://")
    loaded: list[ModuleType] = []

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded.append(module)
        module.app.migrate()
        return module

    yield load
    for module in loaded:
        module.app.close()


@contextmanager
def streaming(app: Trilho) -> Iterator[None]:
    """With a relay and a consumer of its handlers."""
    stop, relay = threading.Event(), Relay(app.database, Someone(), 0.1)
    consumer = threading.Thread(target=app.run_consumer, args=(stop,))
    relay.start()
    consumer.start()
    try:
        yield
    finally:
        stop.set()
        consumer.join()
        relay.stop()


def query(database: str, statement: str) -> list[tuple[Any, ...]]:
    with databases.connect(database) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_services_of_the_choreography_follow_each_other(load: Load, database: str) -> None:
    app = load("choreography").app
    for number, (total, card) in enumerate([(99.9, "4111"), (99.9, "4000"), (5000, "4111")]):
        app.bus.publish("order.requested", {"order_id": str(number), "total": total, "card": card}, key=str(number))

    def log() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"0": [], "1": [], "2": []}
        rows = query(database, "SELECT convert_from(data, 'UTF8'), topic FROM trilho.log ORDER BY time")
        for data, topic in rows:
            found[json.loads(data)["order_id"]].append(topic)
        return found

    def all_ended(found: dict[str, list[str]]) -> bool:
        return all({"order.completed", "order.cancelled"} & set(topics) for topics in found.values())

    with streaming(app):
        found = eventually(log, all_ended, timeout=30)
    begun = ["order.requested", "order.created"]
    assert found == {
        "0": [*begun, "payment.completed", "inventory.reserved", "order.completed"],
        "1": [*begun, "payment.failed", "order.cancelled"],
        "2": [*begun, "payment.completed", "inventory.failed", "payment.refunded", "order.cancelled"],
    }


def test_orchestration_completes_or_undoes_an_order(load: Load, database: str) -> None:
    example = load("orchestration")
    with Harness(example.app, database) as harness:
        orders = [example.Order(order_id=i, total=t, card=c) for i, t, c in (("0", 99.9, "4111"), ("1", 99.9, "4000"))]
        orders.append(example.Order(order_id="2", total=5000, card="4111"))
        handles: list[SagaHandle[str]] = [example.place_order.start(order, id=order.order_id) for order in orders]
        harness.replay_sagas()
        harness.run_until_idle()
        assert [handle.state for handle in handles] == ["COMPLETED", "COMPENSATED", "COMPENSATED"]
        undone = [step.name for step in handles[2].history() if step.kind == "undo"]
        assert [name.rpartition(".")[2] for name in undone] == ["refund_payment", "cancel_order"]
        assert str(handles[2].history()[-2].result).endswith(" for 2/2")
    rows = query(database, "SELECT status FROM orders ORDER BY order_id")
    assert rows == [("COMPLETED",), ("CANCELLED",), ("CANCELLED",)]
    assert query(database, "SELECT order_id FROM stock") == [("0",)]


def test_goods_are_kept_until_somebody_comes_or_the_time_is_over(load: Load, database: str) -> None:
    example = load("pickup")
    with Harness(example.app, database) as harness, streaming(example.app):
        handles = {name: example.pick_up.start(name) for name in ("at once", "reminded", "never")}

        def collected(name: str) -> None:
            example.app.bus.publish("parcel.collected", {"by": "Ana"}, key=name)
            eventually(lambda: harness.run_until_idle() and handles[name].state == "COMPLETED", timeout=30)
            assert handles[name].get(1) == "Ana"

        harness.run_until_idle()
        collected("at once")
        harness.advance(days=2)
        harness.run_until_idle()
        assert handles["never"].state == "WAITING"
        names = [step.name.rpartition(".")[2] for step in handles["never"].history()]
        assert names == ["put_aside", "collected", "remind", "collected"]
        collected("reminded")
        harness.advance(days=1)
        harness.run_until_idle()
        assert handles["never"].state == "COMPENSATED"
    assert sorted(query(database, "SELECT order_id FROM counter")) == [("at once",), ("reminded",)]
