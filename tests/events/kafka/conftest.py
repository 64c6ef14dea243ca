"""An application whose log is Kafka."""

from collections.abc import Iterator

import pytest

from tests.events.world import World, world


@pytest.fixture
def ours(database: str, kafka: str) -> Iterator[World]:
    """A world on Kafka."""
    with world(database, kafka) as made:
        yield made
