"""An application on a database of the test's own."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.events.world import Stream, World, world
from tests.lab import database as databases
from trilho import Trilho


@pytest.fixture
def stream(database: str) -> Iterator[Stream]:
    app = Trilho("streams", database=database, broker="memory://")
    with ExitStack() as stack:
        stack.callback(app.close)
        stack.callback(app.database.close)
        stack.enter_context(databases.connect(database)).execute("CREATE TABLE effects (key text, value text)")
        yield Stream(app, database, stack)


@pytest.fixture
def ours(database: str) -> Iterator[World]:
    """A world on the PostgreSQL log."""
    with world(database) as made:
        yield made
