"""Tables of the order service."""

import psycopg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from loja import ddl

metadata = MetaData(schema="loja")

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True, comment="UUIDv7: ordered by time."),
    Column("mode", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("total", Numeric(12, 2), nullable=False),
    Column("items", JSONB, nullable=False),
    Column("address", JSONB, nullable=False),
    Column("card", Text, nullable=False, comment="Its last four digits."),
    Column("reason", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

order_history = Table(
    "order_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("order_id", ForeignKey("loja.orders.order_id", ondelete="CASCADE"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, comment="When it was published."),
    Column("service", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text),
    UniqueConstraint("order_id", "event", name="order_history_once"),
)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
