"""Why a service cannot handle an event."""


class UnknownOrder(LookupError):
    """The service has no such order. Between the services it is tried again: the order may be on its way."""

    def __init__(self, order_id: str, topic: str) -> None:
        super().__init__(f"{topic}: there is no order {order_id!r} here")
