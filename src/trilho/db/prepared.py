"""A statement in libpq's own words, for half of psycopg's price, whose caller may work while the server does."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import tuple_row

from trilho.db.pool import Connection
from trilho.db.sql import positional

Row = tuple[Any, ...]


def _nothing() -> None:
    """What there is to do meanwhile."""


class Prepared:
    """One statement, prepared on each connection it meets; its parameters are texts, numbers, bools, times, UUIDs."""

    def __init__(self, name: str, statement: str) -> None:
        text, self._names = positional(statement)
        self._statement = statement
        self._name, self._text = name.encode(), text.replace("%%", "%").encode()
        self._known: WeakSet[Connection] = WeakSet()

    def of(self, row: object) -> dict[str, object]:
        """Its parameters from the attributes of an object."""
        return {name: getattr(row, name) for name in self._names}

    def fetch(
        self, connection: Connection, values: Mapping[str, object], meanwhile: Callable[[], None] = _nothing
    ) -> list[Row]:
        """Its rows; `meanwhile` runs while it is under way. Raises what psycopg raises."""
        if not connection.autocommit or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            meanwhile()  # in a transaction, nothing may be tried that can go wrong
            return connection.cursor(row_factory=tuple_row).execute(self._statement, values).fetchall()
        texts = [_text(connection, values[name]) for name in self._names]
        try:
            result = self._run(connection, texts, meanwhile)
        except InvalidSqlStatementName:  # psycopg has made the connection forget all that was prepared
            self._known.discard(connection)
            result = self._run(connection, texts, _nothing)
        transformer = Transformer(connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _run(self, connection: Connection, texts: list[bytes | None], meanwhile: Callable[[], None]) -> PGresult:
        libpq = connection.pgconn
        if connection.prepare_threshold is None:
            libpq.send_query_params(self._text, texts)
        else:
            if connection not in self._known:
                self._known.add(connection)  # first: if this is interrupted, the server says what it does not know
                libpq.send_prepare(self._name, self._text)
                _answer(connection)
            libpq.send_query_prepared(self._name, texts)
        meanwhile()
        return _answer(connection)


def _answer(connection: Connection) -> PGresult:
    results: list[PGresult] = connection.wait(generators.execute(connection.pgconn))
    result = results[-1]
    if result.status in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        return result
    raise error_from_result(result, encoding=connection.info.encoding)


def _text(connection: Connection, value: object) -> bytes | None:
    """PostgreSQL's text of a value; raises psycopg.DataError for what libpq would cut off."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(int(value) if isinstance(value, int) else value)
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text.encode("ascii" if text.isascii() else connection.info.encoding)
