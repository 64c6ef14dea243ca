"""What threads of a process ask of one database together: each verb of the sagas that is worth it has a line."""

from collections.abc import Sequence

from trilho.db.pool import Database
from trilho.db.wakeups import Listener
from trilho.sagas import store
from trilho.sagas.record import Run
from trilho.sagas.start import NewSaga, begin_together
from trilho.sagas.together import Desk, Together
from trilho.sagas.waiter import SagaWaiter


class SagaLines:
    """Reads and writes are at two desks: a write may wait for somebody's lock, and a look must not wait with it.

    `starts` begins runs whose ids are new, and tells whether they were; `loads` gives stretches their runs; `records`
    writes what they record; `ends` writes the ends of runs that complete, slice by slice.
    """

    def __init__(self, database: Database, listener: Listener) -> None:
        reads, writes = Desk(database), Desk(database)
        self.waiter = SagaWaiter(database, listener, Together(reads, store.views, repeatable=True))
        self.loads: Together[tuple[str, str], Run | None] = Together(reads, store.load, repeatable=True)
        self.starts: Together[NewSaga, bool] = Together(writes, begin_together, repeatable=True)
        self.records: Together[store.Page, bool | None] = Together(writes, store.record)
        self.ends: Together[Sequence[store.Ended], set[str]] = Together(writes, store.complete)
