"""Handlers of several consumers that update the same rows in different order."""

import random

from tests.events.world import Stream
from trilho import Tx
from trilho.events.plan import ALONE_AT_FIRST, ALONE_AT_MOST, Company, Failure, after

EVENTS, ROWS, CONSUMERS = 3_000, 40, 3
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def test_batches_of_shared_rows_do_not_stand_in_deadlocks(stream: Stream) -> None:
    stream.query("CREATE TABLE shelves (sku int PRIMARY KEY, taken int NOT NULL DEFAULT 0)")
    stream.query("INSERT INTO shelves SELECT generate_series(1, %s)", ROWS)

    @stream.app.bus.subscribe("taken", group="shelves", batch=100)
    def take(event: dict[str, int], tx: Tx) -> None:
        tx.connection.execute("UPDATE shelves SET taken = taken + 1 WHERE sku = %s", (event["sku"],))

    chance = random.Random(7)
    skus = [chance.randint(1, ROWS) for _ in range(EVENTS)]
    stream.app.bus.publish_many("taken", [(str(n), {"sku": sku}) for n, sku in enumerate(skus)])
    stream.relay()
    for _ in range(CONSUMERS):
        stream.consumer(concurrency=2)
    stream.drained("shelves", timeout=60)

    assert stream.query("SELECT sum(taken)::int FROM shelves") == [(EVENTS,)]
    assert dict(stream.query("SELECT sku, taken FROM shelves")) == {sku: skus.count(sku) for sku in range(1, ROWS + 1)}
    [(deadlocks,)] = stream.query(DEADLOCKS)
    assert deadlocks <= CONSUMERS * 4, "after its first deadlocks a process lets one batch run at a time"


def test_batches_run_alone_after_a_deadlock_for_longer_each_time() -> None:
    company = Company()
    company.contention()
    for _ in range(ALONE_AT_FIRST - 1):
        company.well()
    assert company.alone
    company.well()
    assert not company.alone
    for _ in range(9):
        company.contention()
    assert company.alone_for == ALONE_AT_MOST


def test_a_batch_keeps_its_size_until_it_meets_a_deadlock_though_it_ran_alone() -> None:
    deadlock = Failure(None, RuntimeError("deadlock"), transient=True, contention=True)
    assert after(100, 100, 100, deadlock, 0, alone=False).limit == 100
    assert after(100, 100, 100, deadlock, 0, alone=True).limit == 50
