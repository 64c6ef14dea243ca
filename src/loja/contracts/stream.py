"""The topic `orders`, which other programs read and write too, and what answers to it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from loja.contracts.events import Item, OrderEvent, Refusal

ORDERS = "orders"
ITEMS_HEADER = "items"
"""Header of events on `orders` with what was ordered: its readers know the five fields of the data, and no other."""

ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])

Mode = Literal["choreography", "orchestration", "stream"]


class OrderPlaced(BaseModel):
    """What stands on `orders`; other programs leave `mode` out, and may have numbers for ids."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    order_id: str
    user_id: str | int
    total: float
    timestamp: float
    mode: str | None = None


class StockReserved(OrderEvent):
    """The goods of an order of mode `stream` are put aside."""

    topic = "orders.reserved"


class StockRefused(Refusal):
    """There is not enough for an order of mode `stream`."""

    topic = "orders.refused"
