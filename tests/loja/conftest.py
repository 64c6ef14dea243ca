"""Shops to try things in."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, create_engine

from loja.sales import tables
from tests.lab import database as databases
from tests.lab.servers import scratch
from tests.loja.shop import Shop, opened
from trilho.db.pool import sqlalchemy_url
from trilho.embedded import Valkey


@pytest.fixture
def shop_engine(postgres_server: str) -> Iterator[Engine]:
    """Connections to a database with the tables of the shop and nothing else."""
    url = databases.create(postgres_server)
    with psycopg.connect(url) as connection:
        tables.create(connection)
    engine = create_engine(sqlalchemy_url(url))
    yield engine
    engine.dispose()
    databases.drop(url)


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Valkey]:
    """A Valkey that no other test's workers listen to, and that may be frozen."""
    with scratch() as folder:
        server = Valkey(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def idle_shop(
    postgres_server: str, template: str, own_broker: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A shop without workers, for all tests of a module."""
    url = databases.create(postgres_server, template=template)
    with opened(tmp_path_factory.mktemp("shop"), url, own_broker.url()) as shop:
        yield shop
    databases.drop(url)


@pytest.fixture(scope="module")
def shop(idle_shop: Shop) -> Iterator[Shop]:
    """A shop with a worker, for all tests of a module."""
    with idle_shop.worker():
        yield idle_shop
