"""Videos, and a shop that takes them."""

from collections.abc import Iterator

import pytest

from tests.lab import database as databases
from tests.loja.shop import opened
from tests.loja.videos.cinema import Cinema
from tests.loja.videos.studio import Studio
from trilho.embedded import Valkey

MAX_VIDEO = 4_000_000


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Videos and what is none, made once."""
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def cinema(
    postgres_server: str, template: str, own_broker: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cinema]:
    """A shop without workers, for all tests of a module."""
    url = databases.create(postgres_server, template=template)
    settings = {"LOJA_MAX_VIDEO": str(MAX_VIDEO), "LOJA_MAX_DURATION": "600", "TRILHO_PROGRESS_INTERVAL": "0"}
    with opened(tmp_path_factory.mktemp("cinema"), url, own_broker.url(), **settings) as shop:
        yield Cinema(shop)
    databases.drop(url)
