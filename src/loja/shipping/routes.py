"""Routes of the shipping service."""

from fastapi import APIRouter
from pydantic import BaseModel

from loja.app import app
from loja.paging import Limit, OrderCursor, Page
from loja.shipping import parcels
from loja.shipping.shipment import Status
from trilho.http import documented

router = APIRouter(prefix="/shipments", tags=["orders"])


class ShipmentOut(BaseModel):
    """One shipment."""

    order_id: str
    status: Status


@router.get("", summary="List shipments", responses=documented(422, 503))
def list_shipments(limit: Limit = 50, cursor: OrderCursor = None) -> Page[ShipmentOut]:
    """Newest order first."""
    with app.transaction() as tx:
        found = parcels.page(tx.session, limit + 1, None if cursor is None else str(cursor))
    items = [ShipmentOut(order_id=one.order_id, status=one.status) for one in found[:limit]]
    return Page(items=items, next_cursor=items[-1].order_id if len(found) > limit else None)
