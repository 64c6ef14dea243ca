"""Servers of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.servers import scratch


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the user of an embedded server may enter."""
    with scratch() as path:
        yield path
