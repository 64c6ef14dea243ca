"""What a savepoint rolls back never runs; what came before it does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.jobs.shop import Query, Shop, rolled_back
from tests.lab import database as databases
from trilho import Result, Task, Trilho, Tx

Noop = Task[[int], None]
Savepoint: TypeAlias = Callable[[Trilho, Tx], AbstractContextManager[object]]

SAVEPOINTS: dict[str, Savepoint] = {
    "app.transaction": lambda app, tx: app.transaction(),
    "session.begin_nested": lambda app, tx: tx.session.begin_nested(),
    "connection.transaction": lambda app, tx: tx.connection.transaction(),
}


@pytest.fixture
def noop(app: Trilho) -> Noop:
    @app.task
    def noop(number: int) -> None: ...

    return noop


@pytest.fixture(params=SAVEPOINTS)
def savepoint(request: pytest.FixtureRequest) -> Savepoint:
    return SAVEPOINTS[request.param]


def exist(*results: Result[None]) -> list[bool]:
    return [result.exists() for result in results]


def test_rolled_back_savepoint_takes_only_its_own_jobs(app: Trilho, noop: Noop, savepoint: Savepoint) -> None:
    with app.transaction() as tx:
        before = noop.delay(1)
        with suppress(KeyError), savepoint(app, tx):
            inside = noop.delay(2)
            raise KeyError
        after = noop.delay(3)
    assert exist(before, inside, after) == [True, False, True]


def test_released_savepoint_keeps_its_jobs(app: Trilho, noop: Noop, savepoint: Savepoint) -> None:
    with app.transaction() as tx, savepoint(app, tx):
        result = noop.delay(1)
    assert result.exists()


def test_released_savepoint_falls_with_the_one_around_it(app: Trilho, noop: Noop, savepoint: Savepoint) -> None:
    with app.transaction() as tx:
        before = noop.delay(1)
        with suppress(KeyError), savepoint(app, tx):
            outer = noop.delay(2)
            with savepoint(app, tx):
                inner = noop.delay(3)
            raise KeyError
    assert exist(before, outer, inner) == [True, False, False]


def test_connection_first_used_in_a_savepoint_loses_no_earlier_job(app: Trilho, noop: Noop) -> None:
    with app.transaction() as tx:
        before = noop.delay(1)
        with suppress(KeyError), app.transaction():
            tx.connection.execute("SELECT 1")
            inside = noop.delay(2)
            raise KeyError
        after = noop.delay(3)
    assert exist(before, inside, after) == [True, False, True]


def test_flush_that_fails_in_a_savepoint_loses_no_earlier_job(app: Trilho, noop: Noop, query: Query) -> None:
    """The usual way to insert what may be there already."""
    query("CREATE TABLE names (name text PRIMARY KEY)")
    query("INSERT INTO names VALUES ('ana')")
    with app.transaction() as tx:
        before = noop.delay(1)
        with suppress(IntegrityError), tx.session.begin_nested():
            inside = noop.delay(2)
            tx.session.execute(text("INSERT INTO names VALUES ('ana')"))
    assert exist(before, inside) == [True, False]


def test_rolled_back_transaction_takes_the_jobs_of_released_savepoints(app: Trilho, noop: Noop) -> None:
    with rolled_back(app) as tx, tx.session.begin_nested():
        result = noop.delay(1)
    assert not result.exists()


# ---- any nesting

Step: TypeAlias = "str | tuple[str, bool, list[Step]]"

steps = st.recursive(
    st.lists(st.sampled_from(["enqueue", "connection", "flush"]), max_size=3),
    lambda inner: st.lists(
        st.sampled_from(["enqueue"]) | st.tuples(st.sampled_from(sorted(SAVEPOINTS)), st.booleans(), inner), max_size=4
    ),
    max_leaves=12,
)


class Interpreter:
    """Runs a program of savepoints, and knows what must be left of it."""

    def __init__(self, app: Trilho, noop: Noop) -> None:
        self._app, self._noop = app, noop
        self._number = 0

    def run(self, tx: Tx, program: list[Step]) -> set[str]:
        kept: set[str] = set()
        for step in program:
            if step == "enqueue":
                self._number += 1
                kept.add(self._noop.delay(self._number).id)
            elif step == "connection":
                tx.connection.execute("SELECT 1")
            elif step == "flush":
                tx.session.flush()
            else:
                kind, released, inner = step
                with self._block(tx, kind, released):
                    inside = self.run(tx, inner)
                kept |= inside if released else set()
        return kept

    @contextmanager
    def _block(self, tx: Tx, kind: str, released: bool) -> Iterator[None]:
        with suppress(KeyError), SAVEPOINTS[kind](self._app, tx):
            yield
            if not released:
                raise KeyError


@pytest.fixture(scope="module")
def shop(postgres_server: str, template: str) -> Iterator[tuple[Trilho, Noop]]:
    url = databases.create(postgres_server, template=template)
    app = Shop(database=url)

    @app.task
    def noop(number: int) -> None: ...

    yield app, noop
    app.database.close()
    app.close()
    databases.drop(url)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=steps)
def test_any_nesting_of_savepoints_keeps_exactly_what_was_not_rolled_back(
    shop: tuple[Trilho, Noop], program: list[Step]
) -> None:
    app, noop = shop
    with app.database.connection() as connection:
        connection.execute("DELETE FROM trilho.jobs")
        with app.transaction() as tx:
            kept = Interpreter(app, noop).run(tx, program)
        assert {job_id for (job_id,) in connection.execute("SELECT id FROM trilho.jobs")} == kept
