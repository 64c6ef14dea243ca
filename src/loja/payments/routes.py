"""Routes of the payment service."""

from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from loja.app import app
from loja.paging import Limit, OrderCursor, Page
from loja.payments import ledger
from loja.payments.payment import Status
from trilho.http import documented

router = APIRouter(prefix="/payments", tags=["orders"])


class PaymentOut(BaseModel):
    """One payment."""

    order_id: str
    amount: Decimal = Field(examples=["65.80"])
    status: Status


@router.get("", summary="List payments", responses=documented(422, 503))
def list_payments(limit: Limit = 50, cursor: OrderCursor = None) -> Page[PaymentOut]:
    """Newest order first."""
    with app.transaction() as tx:
        found = ledger.page(tx.session, limit + 1, None if cursor is None else str(cursor))
    items = [PaymentOut(order_id=one.order_id, amount=one.amount, status=one.status) for one in found[:limit]]
    return Page(items=items, next_cursor=items[-1].order_id if len(found) > limit else None)
