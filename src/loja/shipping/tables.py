"""The table of the shipping service."""

import psycopg
from sqlalchemy import Column, DateTime, MetaData, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from loja import ddl

metadata = MetaData(schema="loja")

shipments = Table(
    "shipments",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("address", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
