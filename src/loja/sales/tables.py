"""Tables of the sales: one row per processed file, and its sums."""

import psycopg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    func,
)

from loja import ddl

metadata = MetaData(schema="loja")

sales_files = Table(
    "sales_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("job_id", Text, nullable=False, comment="The job whose result this is."),
    Column("job_created_at", DateTime(timezone=True), nullable=False),
    Column("origin", Text, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("stored_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

sales_totals = Table(
    "sales_totals",
    metadata,
    Column("file", ForeignKey("loja.sales_files.name", ondelete="CASCADE"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("region", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("sales", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount", Numeric(24, 4), nullable=False),
    Index("sales_totals_by_region_and_month", "region", "month"),
)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
