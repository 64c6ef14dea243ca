"""Tables of the payment service."""

import psycopg
from sqlalchemy import Column, DateTime, MetaData, Numeric, Table, Text, func

from loja import ddl

metadata = MetaData(schema="loja")

payments = Table(
    "payments",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("amount", Numeric(12, 2), nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

closed_desks = Table("closed_desks", metadata, Column("desk", Text, primary_key=True))


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
