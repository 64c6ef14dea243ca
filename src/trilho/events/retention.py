"""What the event side forgets: events that their topics keep no longer, members that are not there any more."""

from trilho.db.pool import Connection
from trilho.events import store

BATCH = 5_000


def expire(connection: Connection) -> bool:
    """Delete a batch of old events; whether there may be more."""
    store.forget_members(connection)
    return store.expire_log(connection, BATCH)
