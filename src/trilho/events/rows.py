"""Rows of a query as what administration shows."""

from collections.abc import Callable
from typing import Any, TypeVar

from psycopg.rows import class_row

from trilho.db.pool import Connection, Database

R = TypeVar("R")


def rows_as(database: Database, kind: Callable[..., R], statement: str, **values: Any) -> list[R]:
    """Each row as a `kind`, made of its columns by name; in a transaction of its own."""

    def look(connection: Connection) -> list[R]:
        with connection.cursor(row_factory=class_row(kind)) as cursor:  # type: ignore[arg-type]
            return cursor.execute(statement, values).fetchall()

    return database.run(look)
