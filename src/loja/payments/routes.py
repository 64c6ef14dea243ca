"""Routes of the payment service."""

from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from loja.app import app
from loja.paging import Limit, OrderCursor, Page
from loja.payments import desk, ledger
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


class RefundsDesk(BaseModel):
    """Whether money is given back; while it is not, refunds are tried again, and a saga that needs one is STUCK."""

    model_config = ConfigDict(extra="forbid", strict=True)

    open: bool


@router.get("/refunds", summary="Show whether money is given back", responses=documented(503))
def get_refunds() -> RefundsDesk:
    """Open, unless somebody has closed it."""
    with app.transaction() as tx:
        return RefundsDesk(open=desk.is_open(tx.session))


@router.put("/refunds", summary="Open or close the desk for refunds", responses=documented(400, 413, 422, 503))
def put_refunds(refunds: RefundsDesk) -> RefundsDesk:
    """To see a saga that cannot be undone, and to let it go on."""
    with app.transaction() as tx:
        desk.change(tx.session, to_open=refunds.open)
    return refunds
