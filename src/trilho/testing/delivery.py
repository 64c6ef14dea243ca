"""Events on their way to the sagas under test, where no relay moves them and no consumer handles them."""

from dataclasses import dataclass, field

from trilho.app import Trilho
from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.db.transaction import installed, transaction
from trilho.events.admin import shown
from trilho.events.event import StoredEvent
from trilho.sagas.delivery import Delivery

SQL = beside(__file__, "testing.sql")


@dataclass
class ToSagas:
    """Hands each event once to the runs that may wait for it; it stays in the outbox."""

    app: Trilho
    _known: set[str] = field(default_factory=set)

    def deliver(self) -> None:
        """What was published since the last time."""
        events = self.app.database.run(self._published) if self.app.sagas.topics else []
        if events:
            with installed(None), transaction(self.app.database) as tx:
                Delivery(self.app).keep([shown(event) for event in events], tx)
            self._known.update(event.id for event in events)

    def _published(self, connection: Connection) -> list[StoredEvent]:
        values = {"topics": sorted(self.app.sagas.topics), "known": sorted(self._known)}
        return [StoredEvent(*row) for row in connection.execute(SQL["published"], values)]
