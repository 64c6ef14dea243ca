"""Routes of the inventory service."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from loja.app import app
from loja.inventory import shelves
from loja.paging import Limit, Page
from trilho.http import documented

router = APIRouter(prefix="/products", tags=["orders"])

SkuCursor = Annotated[
    str | None, Query(description="The `next_cursor` of the page before.", pattern="^[A-Z0-9-]{1,32}$")
]


class ProductOut(BaseModel):
    """One product: `stock` + `reserved` + `shipped` is always `initial_stock`."""

    model_config = ConfigDict(from_attributes=True)

    sku: str
    name: str
    price: Decimal = Field(examples=["32.90"])
    initial_stock: int
    stock: int
    reserved: int
    shipped: int


@router.get("", summary="List products", responses=documented(422, 503))
def list_products(limit: Limit = 50, cursor: SkuCursor = None) -> Page[ProductOut]:
    """What there is, and where."""
    with app.transaction() as tx:
        found = shelves.page(tx.session, limit + 1, cursor)
    items = [ProductOut.model_validate(one) for one in found[:limit]]
    return Page(items=items, next_cursor=items[-1].sku if len(found) > limit else None)
