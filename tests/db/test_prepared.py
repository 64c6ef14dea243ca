"""Statements in libpq's own words do what psycopg's do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.lab.database import Connection, connect
from tests.lab.poll import eventually
from trilho.db import prepared
from trilho.db.prepared import Prepared

EVERY_KIND = """
    SELECT %(text)s::text AS t, %(number)s::int, %(truth)s::bool, %(when)s::timestamptz, %(id)s::uuid, %(none)s::text,
           %(text)s::text, 7 %% 4"""


@pytest.fixture
def other(database: str) -> Iterator[Connection]:
    with connect(database) as other:
        yield other


def values(text: str = "ação 'x' ;") -> dict[str, object]:
    when = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    return {"text": text, "number": -1, "truth": False, "when": when, "id": UUID(int=5), "none": None}


@pytest.mark.parametrize("threshold", [1, None], ids=["prepared", "for PgBouncer"])
def test_values_come_back_as_psycopg_would_give_them(connection: Connection, threshold: int | None) -> None:
    connection.prepare_threshold = threshold
    statement = Prepared("every_kind", EVERY_KIND)
    for _ in range(2):
        assert statement.fetch(connection, values()) == connection.execute(EVERY_KIND, values()).fetchall()
    [(count,)] = connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = 'every_kind'")
    assert count == (0 if threshold is None else 1)


def test_connection_that_forgot_it_is_told_again_and_what_comes_meanwhile_happens_once(connection: Connection) -> None:
    statement = Prepared("every_kind", EVERY_KIND)
    happened: list[str] = []
    for turn in "ab":
        assert statement.fetch(connection, values(), partial(happened.append, turn))[0][1] == -1
        connection.execute("DEALLOCATE ALL")
    assert happened == ["a", "b"]


def test_connection_on_which_it_was_interrupted_goes_on(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, answer = Prepared("every_kind", EVERY_KIND), prepared._answer

    def interrupted(of: Connection) -> None:
        answer(of)
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        statement.fetch(connection, values())
    monkeypatch.undo()
    assert statement.fetch(connection, values())[0][1] == -1


class Queue(str, Enum):  # noqa: UP042 - not a StrEnum: its str() is another
    GPU = "gpu"


class Level(int, Enum):
    HIGH = 9


def test_values_are_what_they_are_equal_to(connection: Connection) -> None:
    statement = Prepared("two", "SELECT %(text)s::text, %(number)s::int")
    assert statement.fetch(connection, {"text": Queue.GPU, "number": Level.HIGH}) == [("gpu", 9)]


def test_text_arrives_whatever_encoding_the_connection_has(connection: Connection) -> None:
    connection.execute("SET client_encoding TO latin1")
    statement = Prepared("text", "SELECT %(text)s::text, length(%(text)s)")
    assert statement.fetch(connection, {"text": "ação"}) == [("ação", 4)]


def test_it_belongs_to_the_transaction_around_it(connection: Connection) -> None:
    connection.execute("CREATE TABLE noted (id uuid)")
    note = Prepared("note", "INSERT INTO noted VALUES (%(id)s) RETURNING id")
    note.fetch(connection, {"id": uuid4()})
    with connection.transaction(force_rollback=True):
        note.fetch(connection, {"id": uuid4()})
    connection.autocommit = False
    note.fetch(connection, {"id": uuid4()})
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM noted").fetchone() == (1,)


def test_errors_are_those_of_psycopg(connection: Connection) -> None:
    divide = Prepared("divide", "SELECT 1 / %(by)s::int")
    with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
        divide.fetch(connection, {"by": 0})
    assert divide.fetch(connection, {"by": 1}) == [(1,)]
    with pytest.raises(psycopg.DataError, match="NUL"):
        Prepared("every_kind", EVERY_KIND).fetch(connection, values("a\0b"))
    connection.execute("SELECT 1")


def test_connection_that_is_lost_is_an_operational_error(connection: Connection, other: Connection) -> None:
    one = Prepared("one", "SELECT 1")
    one.fetch(connection, {})
    other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        one.fetch(connection, {})
    assert connection.broken


def test_other_work_is_done_while_the_server_works(connection: Connection, other: Connection) -> None:
    pid = connection.info.backend_pid
    wait = Prepared("wait", "SELECT pg_advisory_lock(4711)")
    other.execute("SELECT pg_advisory_lock(4711)")

    def meanwhile() -> None:
        blocked = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
        eventually(lambda: other.execute(blocked, (pid,)).fetchall())
        other.execute("SELECT pg_advisory_unlock(4711)")

    assert len(wait.fetch(connection, {}, meanwhile)) == 1
