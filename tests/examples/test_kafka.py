"""`kafka_producer.py` and `kafka_consumer.py`, as they stand, on the topic and in the group of the shop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.loja.orders import street as streets
from tests.loja.orders.street import Street, order
from tests.loja.shop import opened
from trilho import Trilho
from trilho.events.admin import Streams

pytestmark = pytest.mark.timeout(110)
SOME_TIME = 45.0


@pytest.fixture
def street(database: str, valkey: str, own_kafka: KafkaServer, tmp_path: Path) -> Iterator[Street]:
    """The shop on Kafka: its topics have fixed names, so the broker is nobody else's."""
    with (
        opened(tmp_path, database, valkey, TRILHO_KAFKA_BOOTSTRAP=own_kafka.url()) as shop,
        streets.opened(shop) as street,
    ):
        street.start("dispatcher")
        street.start("consumer")
        yield street


@contextmanager
def running(street: Street, folder: Path) -> Iterator[Path]:
    """The consumer of the example; the file in which it writes down what it has reserved."""
    environment = {**street.shop.environment, "PATH": "/usr/bin:/bin"}
    with (folder / "consumer.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "kafka_consumer.py"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            yield folder / "reservas.txt"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


@pytest.fixture
def streams(street: Street) -> Iterator[Streams]:
    """Administration of the shop's streams."""
    urls = street.shop.environment
    app = Trilho("shop", database=urls["TRILHO_DATABASE_URL"], kafka=urls["TRILHO_KAFKA_BOOTSTRAP"])
    yield app.streams
    app.database.close()
    app.close()


def letters(street: Street) -> dict[str, str]:
    """Errors of the dead letters of the inventory, by the order's id as it was sent."""
    found = "SELECT convert_from(data, 'UTF8')::json->>'order_id', error FROM trilho.dead_letters"
    return dict(street.shop.query(found))


def test_shop_and_plain_programs_share_a_topic_and_a_group(street: Street, streams: Streams, folder: Path) -> None:
    done: Any = subprocess.run(
        [sys.executable, "kafka_producer.py", "900001", "900002"],
        cwd=folder,
        env={**street.shop.environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("offset") == 2
    seen = eventually(lambda: letters(street), lambda found: {"900001", "900002"} <= set(found), timeout=SOME_TIME)
    assert "there is no order '900001' here" in seen["900001"]

    placed = street.place(order(), "stream")
    assert street.ends(placed, "RESERVED", timeout=SOME_TIME)["status"] == "RESERVED"

    street.kill("consumer")  # and not one member of the shop is left in the group
    with running(street, folder) as reserved:
        eventually(
            lambda: streams.members("inventory-service"),
            lambda told: [(one.name.startswith("kafka-python"), one.foreign) for one in told] == [(True, True)],
            timeout=SOME_TIME,
        )
        taken_away = street.place(order(), "stream")
        eventually(
            lambda: reserved.read_text().split() if reserved.exists() else [],
            lambda ids: taken_away in ids,
            timeout=SOME_TIME,
        )
    assert street.order(taken_away)["status"] == "REQUESTED"
    street.start("consumer-2")  # PostgreSQL's offset counts, not the one that the plain program has committed
    assert street.ends(taken_away, "RESERVED", timeout=SOME_TIME)["status"] == "RESERVED"
    counts = street.shop.query("SELECT order_id, count(*) FROM loja.reservations GROUP BY order_id")
    assert dict(counts) == {placed: 1, taken_away: 1}
