"""The fixture `trilho` as a user's project has it, on the server of this test session."""

import os
from collections.abc import Iterator

import pytest

from trilho.testing import trilho

__all__ = ["trilho"]


@pytest.fixture(scope="session", autouse=True)
def server(postgres_server: str) -> Iterator[None]:
    os.environ["TRILHO_TEST_DATABASE_URL"] = postgres_server
    yield
    del os.environ["TRILHO_TEST_DATABASE_URL"]
