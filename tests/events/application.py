"""What relay and consumer processes of the fault tests run; each effect is one row, written with the offset."""

import os

from trilho import Trilho, Tx
from trilho.events.event import Event
from trilho.events.retry import Retry

app = Trilho("streams", broker="memory://")
PREFIX = os.environ.get("STREAMS_PREFIX", "")
"""Of topics and groups, where several tests share a Kafka."""
PATIENT = Retry(attempts=1000, delay=0.05, longest=0.1)


@app.bus.subscribe(f"{PREFIX}numbers", group=f"{PREFIX}effects", batch=20, retry=PATIENT)
def effect(event: Event[dict[str, int]], tx: Tx) -> None:
    """Write the effect, and pass the event on."""
    tx.session.connection().exec_driver_sql(
        "INSERT INTO effects (key, value) VALUES (%s, %s)", (str(event.key), str(event.data["n"]))
    )
    app.bus.publish(f"{PREFIX}passed", event.data, key=event.key)


@app.bus.subscribe(f"{PREFIX}passed", group=f"{PREFIX}passed", batch=20, retry=PATIENT)
def passed(event: Event[dict[str, int]], tx: Tx) -> None:
    """Write a second effect."""
    tx.session.connection().exec_driver_sql(
        "INSERT INTO effects (key, value) VALUES (%s, %s)", (f"passed {event.key}", str(event.data["n"]))
    )
