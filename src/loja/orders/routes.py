"""Routes of the order service."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response

from loja.answers import problem
from loja.app import app
from loja.orders import book
from loja.orders.intake import place
from loja.orders.schemas import ModeParameter, NewOrder, OrderAccepted, OrderOut, OrderSummary
from loja.orders.standing import as_it_stands
from loja.paging import Limit, OrderCursor, Page
from trilho.http import documented, timeline_link

router = APIRouter(prefix="/orders", tags=["orders"])


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The order is stored, and the services will hear of it.",
        "headers": {"Location": {"description": "Path of `GET /orders/{order_id}`.", "schema": {"type": "string"}}},
    }
}
_NOBODY = problem(404, "No order has this id.")


@router.post(
    "",
    status_code=202,
    summary="Place an order",
    responses=_ACCEPTED | documented(400, 413, 422, 503),
)
def post_order(
    new: NewOrder, request: Request, response: Response, mode: ModeParameter = "choreography"
) -> OrderAccepted:
    """The order, and its events or its saga, are one commit; four services do the rest.

    `choreography`: payment, inventory and shipping follow each other by their events, and undo in reverse order.
    `orchestration`: the saga `place_order` asks the same services in turn, with the same outcomes.
    `stream`: the inventory alone reads topic `orders` and puts the goods aside.
    """
    order = place(new, mode)
    url = f"{request.scope.get('root_path', '')}/orders/{order.order_id}"
    response.headers["Location"] = url
    timeline_link(request, response, order.order_id)
    return OrderAccepted(order_id=order.order_id, status=order.status, status_url=url)


@router.get("", summary="List orders", responses=documented(422, 503))
def list_orders(limit: Limit = 50, cursor: OrderCursor = None) -> Page[OrderSummary]:
    """Newest first."""
    with app.transaction() as tx:
        found = book.page(tx.session, limit + 1, None if cursor is None else str(cursor))
    more = found[limit - 1].order_id if len(found) > limit else None
    return Page(items=[OrderSummary.of(as_it_stands(order)) for order in found[:limit]], next_cursor=more)


@router.get("/{order_id}", summary="Show an order", responses=_NOBODY | documented(422, 503))
def get_order(order_id: UUID, request: Request, response: Response) -> OrderOut:
    """How it stands, and what has happened to it."""
    with app.transaction() as tx:
        order = book.get(tx.session, str(order_id))
        lines = book.history(tx.session, str(order_id))
    if order is None:
        raise HTTPException(404, f"no order has the id {order_id}")
    timeline_link(request, response, order.order_id)
    return OrderOut.of(as_it_stands(order)).with_history(lines)
