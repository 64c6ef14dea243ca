"""What the shipping service does about events."""

from loja.app import app
from loja.contracts import topics
from loja.contracts.events import InventoryReserved
from loja.shipping import parcels
from loja.shipping.shipment import planned
from trilho import Tx


@app.bus.subscribe(InventoryReserved.topic, group="shipping-service")
def schedule(reserved: InventoryReserved, tx: Tx) -> None:
    """Find a carrier, once."""
    shipment, told = planned(reserved)
    if parcels.add(tx.session, shipment, reserved.address):
        topics.publish(app, told)
