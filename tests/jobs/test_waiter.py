"""Asking for the announcement of an end, just when it comes."""

from concurrent.futures import ThreadPoolExecutor

from tests.jobs.rows import claimed, enqueue, success
from tests.jobs.shop import Query
from tests.lab.database import Connection
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.jobs import store
from trilho.jobs.waiter import ask

BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"


def test_end_that_comes_while_one_asks_is_seen_at_once(app: Trilho, connection: Connection, query: Query) -> None:
    job = claimed(connection)
    with ThreadPoolExecutor(1) as threads:
        with connection.transaction():
            store.settle(connection, [success(job)])
            asking = threads.submit(app.database.run, ask, [job.id])
            eventually(lambda: query(BLOCKED), lambda count: count == [(1,)])
        assert asking.result(10) == {job.id}


def test_job_that_goes_on_is_asked_for_once(app: Trilho, connection: Connection, query: Query) -> None:
    enqueue(connection)
    for _ in range(2):
        assert ask(connection, ["one"]) == set()
    assert query("SELECT awaited FROM trilho.jobs") == [(True,)]
