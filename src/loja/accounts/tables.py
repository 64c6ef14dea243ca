"""The table of users."""

import psycopg
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid, func
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, ExecutableDDLElement

metadata = MetaData(schema="loja")

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The database decides who was first: two requests at once cannot both find the address free.
one_per_email = Index("users_one_per_email", func.lower(users.c.email), unique=True)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    statements: list[ExecutableDDLElement] = [
        CreateSchema("loja", if_not_exists=True),
        CreateTable(users, if_not_exists=True),
        CreateIndex(one_per_email, if_not_exists=True),
    ]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for statement in statements:
        connection.execute(str(statement.compile(dialect=dialect)).encode())
