"""Asking for the announcement of an end, just when it comes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.jobs import rows
from tests.jobs.rows import claimed, enqueue, success
from tests.jobs.shop import Query
from tests.lab.database import Connection, port_of, with_port
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from trilho import Trilho
from trilho.db.pool import Database
from trilho.jobs import store
from trilho.jobs.waiter import Waiter, ask
from trilho.settings import Settings

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


def test_who_waits_does_not_notice_that_postgresql_is_away_for_a_while(
    database: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    job = claimed(connection)
    with FaultProxy(port_of(database)) as proxy, ThreadPoolExecutor(1) as threads:
        away = Database(Settings(database_url=with_port(database, proxy.port), connect_timeout=0.2))
        waiting = threads.submit(Waiter(away).wait, [job.id], 60)
        eventually(lambda: rows.column(connection, "awaited", job.id))
        proxy.set("refuse")
        proxy.cut()
        eventually(lambda: "postgresql.away" in caplog.text)
        proxy.set("pass")
        store.settle(connection, [success(job)])
        assert waiting.result(60) == {job.id}
        away.close()
