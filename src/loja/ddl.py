"""Tables that are made when they are missing."""

import psycopg
from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, ExecutableDDLElement


def create(connection: psycopg.Connection, metadata: MetaData) -> None:
    """Create what is missing of the schema `loja` and of these tables."""
    statements: list[ExecutableDDLElement] = [CreateSchema("loja", if_not_exists=True)]
    for table in metadata.sorted_tables:
        statements.append(CreateTable(table, if_not_exists=True))
        statements += [CreateIndex(index, if_not_exists=True) for index in table.indexes]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for statement in statements:
        connection.execute(str(statement.compile(dialect=dialect)).encode())
