"""Tables of the inventory service; the database itself refuses goods that appear or vanish."""

import psycopg
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from loja import ddl
from loja.contracts.catalogue import CATALOGUE

metadata = MetaData(schema="loja")

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price", Numeric(12, 2), nullable=False),
    Column("initial_stock", Integer, nullable=False),
    Column("stock", Integer, nullable=False),
    Column("reserved", Integer, nullable=False, server_default="0"),
    Column("shipped", Integer, nullable=False, server_default="0"),
    CheckConstraint("stock >= 0 AND reserved >= 0 AND shipped >= 0", name="products_not_negative"),
    CheckConstraint("stock + reserved + shipped = initial_stock", name="products_add_up"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("items", JSONB, nullable=False),
)

_FILL = b"""INSERT INTO loja.products (sku, name, price, initial_stock, stock)
            VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""


def create(connection: psycopg.Connection) -> None:
    """Create what is missing, and put what is new in the catalogue on the shelves."""
    ddl.create(connection, metadata)
    for product in CATALOGUE.values():
        connection.execute(_FILL, (product.sku, product.name, product.price, product.stock, product.stock))
