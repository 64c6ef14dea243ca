"""The lease of a live process: renewed while it can be, and given up before others may take its jobs."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.jobs.rows import claimant, claimed, column, settle
from tests.lab import database as databases
from tests.lab.database import Connection
from tests.lab.poll import always, eventually
from tests.lab.proxy import FaultProxy
from trilho.db.pool import Database
from trilho.jobs.outcome import LOST, Reschedule
from trilho.processes.lease import Lease
from trilho.processes.shared import SharedState
from trilho.processes.store import ProcessInfo, Pulse
from trilho.settings import Settings

LEASE = 1.0
pytestmark = [
    # The proxy may leave half-open connections behind when its loop ends; they are the network's, not the library's.
    pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning"),
]


@dataclass
class Process:
    """A process with a lease, and what it noticed."""

    lease: Lease
    losses: list[float] = field(default_factory=list)

    @property
    def may_run(self) -> bool:
        return self.lease.shared.may_run()


@pytest.fixture
def proxy(database: str) -> Iterator[FaultProxy]:
    with FaultProxy(databases.port_of(database)) as proxy:
        yield proxy


@pytest.fixture
def begin(database: str, proxy: FaultProxy) -> Iterator[Callable[[], Process]]:
    """Starts processes that reach the database through the proxy."""
    begun: list[Process] = []
    pool = Database(Settings(database_url=databases.with_port(database, proxy.port), connect_timeout=2))

    def make() -> Process:
        info = ProcessInfo("worker", "w@host", "host", 1, "1", LEASE)
        lease = Lease(pool, info, Pulse, SharedState(1), on_lost=lambda: process.losses.append(time.monotonic()))
        process = Process(lease)
        begun.append(process)
        lease.start()
        return process

    yield make
    proxy.set("pass")
    for process in begun:
        process.lease.stop()
    pool.close()


def states(connection: Connection) -> list[str]:
    return [state for (state,) in connection.execute("SELECT state FROM trilho.processes ORDER BY started_at")]


def left(connection: Connection) -> float:
    """Seconds that the lease is still good for, as others see it."""
    row = connection.execute(
        "SELECT extract(epoch FROM max(seen_at + lease) - clock_timestamp())::float FROM trilho.processes"
    ).fetchone()
    assert row is not None
    return float(row[0])


def test_process_may_run_as_soon_as_it_is_registered_and_stays_so(
    begin: Callable[[], Process], connection: Connection
) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    always(lambda: (process.may_run, left(connection) > 0), lambda seen: seen == (True, True), seconds=2 * LEASE)
    assert states(connection) == ["running"]
    assert process.losses == []


def test_process_that_stops_says_so(begin: Callable[[], Process], connection: Connection) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    process.lease.stop()
    assert states(connection) == ["stopped"]


@pytest.mark.parametrize("how", ["black-hole", "half-open", "refuse"])
def test_process_that_cannot_renew_stops_its_bodies_before_others_may_take_its_jobs(
    begin: Callable[[], Process], proxy: FaultProxy, connection: Connection, how: str
) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    proxy.set(how)  # type: ignore[arg-type]
    if how == "refuse":
        proxy.cut()
    eventually(lambda: process.losses, timeout=10, every=0.01)
    assert not process.may_run
    assert left(connection) > 0


def test_process_that_outlived_its_lease_begins_anew_and_takes_back_what_was_presumed(
    begin: Callable[[], Process], proxy: FaultProxy, connection: Connection
) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    first = process.lease.incarnation
    proxy.set("black-hole")
    eventually(lambda: process.losses, timeout=10)
    job = claimed(connection, by=claimant(first))
    lost = Reschedule(job.id, job.claim_token, LOST, crash=True, presumed=True, error="its lease ran out")
    settle(connection, lost)
    assert column(connection, "crash_count") == 1
    proxy.set("pass")
    proxy.cut()
    eventually(lambda: process.may_run, timeout=15)
    assert process.lease.incarnation != first
    eventually(lambda: column(connection, "crash_count"), lambda count: count == 0)


def test_process_that_somebody_declared_lost_begins_anew(begin: Callable[[], Process], connection: Connection) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    first = process.lease.incarnation
    connection.execute("UPDATE trilho.processes SET state = 'lost'")
    eventually(lambda: process.losses)
    eventually(lambda: process.may_run)
    assert process.lease.incarnation != first
    assert states(connection) == ["lost", "running"]
    assert len(process.losses) == 1


def test_lock_of_a_body_does_not_hold_the_renewal_up(begin: Callable[[], Process], connection: Connection) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    with connection.transaction():
        connection.execute("LOCK TABLE trilho.jobs IN ACCESS EXCLUSIVE MODE")
        always(lambda: process.may_run, bool, seconds=1.5 * LEASE)


def test_lease_survives_the_end_of_its_connection(begin: Callable[[], Process], proxy: FaultProxy) -> None:
    process = begin()
    eventually(lambda: process.may_run)
    stop = threading.Event()

    def cut() -> None:
        while not stop.wait(0.3):
            proxy.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        always(lambda: process.may_run, bool, seconds=2 * LEASE)
    finally:
        stop.set()
        thread.join()
    assert process.losses == []
