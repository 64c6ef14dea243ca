"""Events on their way to the runs that wait for them: kept by a consumer group of Trilho's own, in its transaction."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from trilho.db.transaction import Tx
from trilho.events.event import Event
from trilho.jobs import codec
from trilho.jobs.store import rows_json
from trilho.sagas import store
from trilho.sagas.record import LONGEST_KEY

if TYPE_CHECKING:
    from trilho.app import Trilho

GROUP = "trilho.sagas"


class Delivery:
    """Keeps events, and wakes the runs that wait for their keys."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app

    def keep(self, events: list[Event[Any]], tx: Tx) -> None:
        """One batch: whoever waits at this moment is woken, whoever waits later finds the event."""
        rows = rows_json([row for event in events if (row := _row(event)) is not None])
        connection, faults = tx.raw, self._app.database.faults
        connection.execute(store.SQL["lock_lanes"], {"rows": rows})
        connection.execute(store.SQL["keep_events"], {"rows": rows})
        faults.hit("saga.deliver_before_wake")
        found = connection.execute(store.SQL["waiters"], {"rows": rows}).fetchone()
        if found is not None and found[0]:
            jobs = store.jobs(connection, "wake", ids=found[0])
            tx.after.append(lambda: self._app.enqueuer.jobs.committed(jobs))


def _row(event: Event[Any]) -> dict[str, Any] | None:
    """None where nobody can wait for its key."""
    key = event.key.encode() if isinstance(event.key, str) else event.key
    if key is None or len(key) > LONGEST_KEY:
        return None
    data = event.data.decode(errors="backslashreplace") if isinstance(event.data, bytes) else event.data
    return {
        "topic": event.topic,
        "key": key.hex(),
        "id": _identity(event),
        "data": codec.dumps(data),
        "time": event.time,
    }


def _identity(event: Event[Any]) -> str:
    """Each source has ids of its own; a digest, for foreign ones may be longer than an index takes."""
    return sha256(f"{event.source}\n{event.id}".encode(errors="backslashreplace")).hexdigest()
