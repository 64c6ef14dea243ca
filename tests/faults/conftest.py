"""Servers that a test may hurt, and the lab around them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from kombu.connection import Connection

from tests.conftest import LOGS
from tests.faults.apps import schema
from tests.lab import database as databases
from tests.lab.keeper import SAFE_FROM_KILLS
from tests.lab.lab import Lab
from tests.lab.ledger import Ledger
from tests.lab.rabbitmq import RabbitMQ
from tests.lab.servers import missing, scratch
from trilho.embedded import Postgres, Valkey

MakeLab: TypeAlias = Callable[..., Lab]


@pytest.fixture
def ledger(postgres_server: str) -> Iterator[Ledger]:
    """The independent count; on the shared server, which no test hurts."""
    ledger = Ledger.create(postgres_server)
    yield ledger
    ledger.close()
    databases.drop(ledger.url)


@pytest.fixture
def make_lab(request: pytest.FixtureRequest, tmp_path: Path, ledger: Ledger) -> Iterator[MakeLab]:
    """Builds labs on the given servers; the logs of their workers are shown when the test fails."""
    with ExitStack() as stack:

        def make(*, database: str, broker: str) -> Lab:
            with databases.connect(database) as connection:
                schema.create(connection)
            lab = Lab(tmp_path, database, broker, ledger, logs=request.node.stash.setdefault(LOGS, []))
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def lab(make_lab: MakeLab, database: str, valkey: str) -> Lab:
    """A lab on the shared servers, for tests that hurt workers only."""
    return make_lab(database=database, broker=valkey)


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey of this test's own, without persistence: a restart forgets everything."""
    with scratch() as folder:
        server = Valkey(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitMQ]:
    """A RabbitMQ node of this test process, which takes seconds to start."""
    if not RabbitMQ.installed():
        missing("RabbitMQ", "apt-get install rabbitmq-server")
    with scratch() as folder:
        server = RabbitMQ(folder)
        yield server
        server.kill()


@pytest.fixture
def own_rabbitmq(rabbitmq_node: RabbitMQ) -> RabbitMQ:
    """A running RabbitMQ node that no other test uses now, its usual queue empty."""
    rabbitmq_node.start()
    with Connection(rabbitmq_node.url()) as connection:
        connection.default_channel.queue_delete("celery")
    return rabbitmq_node


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, to be stopped and restarted."""
    with scratch() as folder:
        server = Postgres(folder, options=SAFE_FROM_KILLS)
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture
def own_database(own_postgres: Postgres) -> str:
    """A migrated database on the test's own PostgreSQL."""
    url = databases.create(own_postgres.url())
    databases.bring_up_to_date(url)
    return url
