"""What the shipping service does when it is asked; each is once for an order, however often it is asked."""

from loja.contracts.events import InventoryReserved, ShippingFailed, ShippingScheduled
from loja.shipping import parcels
from loja.shipping.shipment import planned
from trilho import Tx


def schedule(reserved: InventoryReserved, tx: Tx) -> ShippingScheduled | ShippingFailed:
    """Find a carrier; what came of it."""
    shipment, told = planned(reserved)
    parcels.add(tx.session, shipment, reserved.address)
    return told


def cancel(order_id: str, tx: Tx) -> None:
    """Call the carrier off."""
    parcels.cancel(tx.session, order_id)
