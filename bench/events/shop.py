"""Trilho with typed async handlers that do nothing; the variables BENCH_… say what a consumer process is to measure."""

import os

from pydantic import BaseModel

from bench.events.order import TOPIC, Order
from bench.tally import Arrivals, Tally
from trilho import Trilho

PINGS = "bench.pings"
BATCH = 500
"""As often as the raw loop commits."""


class Ping(BaseModel):
    """An event whose way from commit to handler is timed."""

    name: str


app = Trilho("bench")
app.bus.topic(TOPIC, schema=Order)
app.bus.topic(PINGS, schema=Ping)

if group := os.environ.get("BENCH_GROUP"):
    wanted, batch = int(os.environ["BENCH_EVENTS"]), int(os.environ.get("BENCH_BATCH", BATCH))
    timeline = None if "BENCH_TIMELINE" not in os.environ else os.environ["BENCH_TIMELINE"] == "on"
    tally, arrivals = Tally(wanted), Arrivals(group, wanted)

    @app.bus.subscribe(TOPIC, group=f"{group}-orders", batch=batch, timeline=timeline)
    async def handle(order: Order) -> None:
        """Nothing: what is left is the price of the event itself."""
        tally()

    @app.bus.subscribe(PINGS, group=f"{group}-pings")
    async def arrive(ping: Ping) -> None:
        """Remember when."""
        arrivals(ping.name)
