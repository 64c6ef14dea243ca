"""An application without a worker; its jobs run in the test process, by the code that a worker runs."""

from collections.abc import Iterator
from typing import Any

import pytest

from trilho import Trilho
from trilho.testing import Harness


class Shop(Trilho):
    """An application that keeps its tasks to itself: many of them live in one test process."""

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{"shared": False, **options})


@pytest.fixture
def app(database: str) -> Iterator[Trilho]:
    app = Shop("shop", database=database)
    with Harness(app, database):
        yield app
    app.close()


@pytest.fixture
def trilho(app: Trilho, database: str) -> Harness:
    """Runs the jobs of `app`."""
    return Harness(app, database)
