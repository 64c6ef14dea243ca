"""Fixtures that every test may use, on real servers; see `tests/lab` for what they are made of."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis
from kombu.connection import Connection

from tests.lab import database as databases
from tests.lab.kafka import KafkaServer
from tests.lab.servers import Session, missing, scratch

TEMPLATE = "trilho_template"
LOGS = pytest.StashKey[list[Path]]()
"""Log files whose ends are shown when the test fails; fixtures append to it."""


OURS = ("TRILHO_TEST_", "TRILHO_CHAOS_")
"""Variables that steer the tests; the others would steer what is tested."""


def pytest_configure() -> None:
    for name in list(os.environ):
        if name.startswith("TRILHO_") and not name.startswith(OURS):
            del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for path in item.stash.get(LOGS, []):
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()
                report.sections.append((f"end of {path.name}", "\n".join(lines[-60:])))
    return report


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """What the parallel test processes have in common."""
    return Session.of(tmp_path_factory)


@pytest.fixture(scope="session")
def postgres_server(session: Session) -> str:
    """URL of the shared PostgreSQL, as its superuser; without fsync."""
    return session.url("postgres")


@pytest.fixture(scope="session")
def template(session: Session, postgres_server: str) -> str:
    """Name of a database with Trilho's schema, to be copied."""
    with session.locked(TEMPLATE):
        databases.create_template(postgres_server, TEMPLATE)
    return TEMPLATE


@pytest.fixture
def database(postgres_server: str, template: str) -> Iterator[str]:
    """URL of a migrated database of this test's own."""
    url = databases.create(postgres_server, template=template)
    yield url
    databases.drop(url)


@pytest.fixture
def valkey(session: Session) -> str:
    """Broker URL of an empty Valkey database; never FLUSHALL this server, others use it."""
    url = databases.with_database(session.url("valkey"), str(session.number % 16))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def rabbitmq(session: Session) -> str:
    """Broker URL of a virtual host of this test process, its usual queue empty; skips where RabbitMQ is missing."""
    url = databases.with_database(session.url("rabbitmq"), f"v{session.number % 16}")
    with Connection(url) as connection:
        connection.default_channel.queue_delete("celery")
    return url


@pytest.fixture
def kafka(session: Session) -> str:
    """Bootstrap of the shared Kafka, for topics and groups of the test's own; skips where Kafka cannot be had."""
    return session.url("kafka")


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[KafkaServer]:
    """The broker behind `own_kafka`."""
    if lack := KafkaServer.lack():
        missing("Kafka", lack)
    with scratch() as folder:
        server = KafkaServer(folder)
        yield server
        server.stop()


@pytest.fixture
def own_kafka(mortal_kafka: KafkaServer) -> KafkaServer:
    """A running broker that no other test process uses, to be killed and frozen; topics of earlier tests are there."""
    mortal_kafka.resume()
    mortal_kafka.start()
    return mortal_kafka
