"""Choreography: each service knows the events that it handles and those that it publishes, and no other service.

    trilho up -A choreography
    trilho events produce order.requested '{"order_id": "1", "total": 99.9, "card": "4111"}' --key 1

What a handler publishes and how far it has read are one commit: killed in between, it is done again, and no event is
lost or published twice.
"""

from trilho import Trilho

app = Trilho("choreography")
event_bus = app.bus

REFUSED = "4000"


@event_bus.subscribe("order.requested")
async def handle_order_requested(event):
    order = {"order_id": event["order_id"], "total": event["total"], "card": event["card"]}
    await event_bus.publish("order.created", order, key=order["order_id"])


@event_bus.subscribe("order.created")
async def handle_order_created(event):
    if event["card"] == REFUSED:
        failed = {"order_id": event["order_id"], "reason": "the card was declined"}
        await event_bus.publish("payment.failed", failed, key=event["order_id"])
    else:
        paid = {"order_id": event["order_id"], "amount": event["total"]}
        await event_bus.publish("payment.completed", paid, key=event["order_id"])


@event_bus.subscribe("payment.completed")
async def handle_payment_completed(event):
    if event["amount"] > 1000:
        failed = {"order_id": event["order_id"], "reason": "there is not enough of it", "amount": event["amount"]}
        await event_bus.publish("inventory.failed", failed, key=event["order_id"])
    else:
        await event_bus.publish("inventory.reserved", {"order_id": event["order_id"]}, key=event["order_id"])


@event_bus.subscribe("inventory.failed")
async def handle_inventory_failed(event):
    refunded = {"order_id": event["order_id"], "amount": event["amount"], "reason": event["reason"]}
    await event_bus.publish("payment.refunded", refunded, key=event["order_id"])


@event_bus.subscribe("inventory.reserved")
async def handle_inventory_reserved(event):
    await event_bus.publish("order.completed", {"order_id": event["order_id"]}, key=event["order_id"])


@event_bus.subscribe("payment.failed", "payment.refunded")
async def handle_refusal(event):
    cancelled = {"order_id": event["order_id"], "reason": event["reason"]}
    await event_bus.publish("order.cancelled", cancelled, key=event["order_id"])
