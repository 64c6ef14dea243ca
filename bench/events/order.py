"""The event that everybody produces and consumes: five fields, 110 bytes of JSON. Loaded beside the peers, too."""

from typing import Any

from pydantic import BaseModel

TOPIC = "bench.orders"
"""Trilho's, on either log."""
PLAIN = "bench.plain"
"""The peers', in Kafka: without an envelope."""
KEYS = 1_000
PARTITIONS = 6


class Order(BaseModel):
    """An order as a handler wants it."""

    order_id: str
    email: str
    items: int
    total: float
    note: str


def fields(number: int) -> dict[str, Any]:
    """One event before it is typed."""
    return {
        "order_id": f"order-{number:010d}",
        "email": "ana@example.com",
        "items": 3,
        "total": 1234.56,
        "note": "as soon as it can",
    }


def key(number: int, keys: int = KEYS) -> str:
    """Neighbours have different keys."""
    return f"customer-{number % keys}"
