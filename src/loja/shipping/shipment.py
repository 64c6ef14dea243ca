"""A shipment, decided without I/O."""

from dataclasses import dataclass
from enum import StrEnum

from loja.contracts.events import InventoryReserved, ShippingFailed, ShippingScheduled

UNDELIVERABLE = frozenset({"AQ"})
"""Countries where no carrier goes."""


class Status(StrEnum):
    """States of a shipment."""

    SCHEDULED = "SCHEDULED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Shipment:
    """One shipment."""

    order_id: str
    status: Status


def planned(reserved: InventoryReserved) -> tuple[Shipment, ShippingScheduled | ShippingFailed]:
    """The shipment of goods that are put aside, and what to publish about it."""
    country = reserved.address.country
    if country in UNDELIVERABLE:
        failed = ShippingFailed(order_id=reserved.order_id, reason=f"nobody delivers to {country}")
        return Shipment(reserved.order_id, Status.CANCELLED), failed
    return Shipment(reserved.order_id, Status.SCHEDULED), ShippingScheduled(order_id=reserved.order_id)
