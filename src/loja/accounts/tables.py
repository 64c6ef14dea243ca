"""The table of users."""

import psycopg
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid, func

from loja import ddl

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
Index("users_one_per_email", func.lower(users.c.email), unique=True)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
