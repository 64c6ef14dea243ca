"""PostgreSQL is restarted, its connections are cut, and the answers to its commits get lost."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from tests.faults.apps.application import build
from tests.faults.conftest import MakeLab
from tests.lab.database import port_of, with_port
from tests.lab.lab import LEASE, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import always, eventually
from tests.lab.proxy import FaultProxy
from trilho import Trilho
from trilho.embedded import Postgres

DATABASE_GONE = (psycopg.Error, DBAPIError)
CLAIM_IS_DURABLE = 1.0
"""Seconds: a claim is answered before it is on disk, and a crash of the server may take it back for a moment."""


@pytest.fixture
def own_lab(make_lab: MakeLab, own_database: str, valkey: str) -> Lab:
    """A lab on a PostgreSQL that may be hurt."""
    return make_lab(database=own_database, broker=valkey)


def restart(postgres: Postgres, pause: float = 0.0) -> None:
    """As after a power cut: recovery at the next start."""
    postgres.stop("immediate")
    time.sleep(pause)
    postgres.start()


class Client(threading.Thread):
    """A web process that goes on enqueuing while its database comes and goes."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(name="client")
        self._lab = lab
        self.acked: list[str] = []
        self.unknown: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.over.wait(0.02):
            number += 1
            key = f"job-{number}"
            try:
                with self._lab.app.transaction() as tx:
                    tx.connection.execute("INSERT INTO counters VALUES (%s, 1)", (key,))
                    self._lab.send("record", key, 0.02, task_id=key)
                self.acked.append(key)
            except DATABASE_GONE:
                self.unknown.append(key)

    def stop(self) -> None:
        self.over.set()
        self.join(timeout=20)


@pytest.mark.timeout(120)
def test_immediate_restarts_under_load_lose_nothing_and_never_pretend_success(
    own_lab: Lab, own_postgres: Postgres
) -> None:
    for name in ("w1", "w2"):
        own_lab.worker(name, wait=False)
    client = Client(own_lab)
    client.start()
    for pause in (0.0, 1.0, 0.3, 0.0):
        time.sleep(2)
        restart(own_postgres, pause)
    time.sleep(1)
    client.stop()
    rows = {str(key) for (key,) in own_lab.query("SELECT name FROM counters WHERE value = 1")}
    jobs = {str(key) for (key,) in own_lab.query("SELECT id FROM trilho.jobs")}
    assert jobs == rows, "a row without its job, or a job without its row"
    assert set(client.acked) <= jobs <= set(client.acked) | set(client.unknown)
    own_lab.all_succeed(len(jobs), timeout=40)
    assert account(jobs, own_lab.effects()) == EXACT


def test_short_restart_is_survived_by_the_running_attempt(own_lab: Lab, own_postgres: Postgres) -> None:
    own_lab.worker("w1", lease=6)
    job_id = own_lab.send("effect", "a", 4.0)
    own_lab.began("a")
    time.sleep(CLAIM_IS_DURABLE)
    restart(own_postgres)
    own_lab.all_succeed(1)
    assert own_lab.job(job_id).attempt == 1
    assert account(["a"], own_lab.ledger.done()) == EXACT


def test_outage_longer_than_the_lease_is_no_crash(own_lab: Lab, own_postgres: Postgres) -> None:
    own_lab.worker("w1", max_crashes=0)
    job_id = own_lab.send("record", "a", 3.0)
    own_lab.began("a")
    restart(own_postgres, pause=2 * LEASE)
    own_lab.all_succeed(1)
    assert own_lab.job(job_id).crash_count == 0
    assert account(["a"], own_lab.effects()) == EXACT


def test_nothing_is_recovered_until_one_lease_after_a_start(own_lab: Lab, own_postgres: Postgres) -> None:
    lease = 4.0
    first = own_lab.worker("w1", lease=lease)
    own_lab.send("record", "a", 20.0)
    own_lab.began("a")
    own_lab.worker("w2", lease=lease)
    first.kill()
    own_postgres.stop("immediate")
    time.sleep(lease)
    own_postgres.start()
    started = datetime.now(UTC)
    own_lab.all_succeed(1)
    _, again = own_lab.ledger.entries("a", "began")
    assert again.at - started > timedelta(seconds=0.9 * lease)


def test_restart_during_recovery_leaves_the_job_recoverable(own_lab: Lab, own_postgres: Postgres) -> None:
    first = own_lab.worker("w1")
    own_lab.send("record", "a", 20.0)
    own_lab.began("a")
    own_lab.worker("w2", fault="recover.before_commit=stop")
    first.kill()
    eventually(lambda: own_lab.stopped("w2"), timeout=15)
    restart(own_postgres)
    own_lab.worker("w3")
    own_lab.all_succeed(1, timeout=25)
    assert account(["a"], own_lab.effects()) == EXACT


def test_ending_every_connection_loses_nothing(lab: Lab) -> None:
    lab.worker("w1")
    lab.worker("w2")
    keys = [f"job-{number}" for number in range(60)]
    lab.send_many("record", keys, 0.1)
    for _ in range(4):
        time.sleep(0.7)
        lab.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    lab.all_succeed(60, timeout=40)
    assert account(keys, lab.effects()) == EXACT
    assert lab.query("SELECT max(crash_count) FROM trilho.jobs") == [(0,)]


def test_lost_connection_of_a_body_is_nobodys_attempt(lab: Lab) -> None:
    lab.worker("w1")
    job_id = lab.send("holding", "a", "a", 2.0)
    eventually(lambda: lab.ledger.entries("a", "locked"))
    lab.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'trilho:%%'"
    )
    lab.all_succeed(1)
    assert account(["a"], lab.effects()) == EXACT
    job = lab.job(job_id)
    assert (job.retries, job.crash_count) == (0, 0)


def test_deadlock_of_two_bodies_is_nobodys_attempt(lab: Lab) -> None:
    lab.worker("w1", concurrency=2)
    ids = [lab.send("crossing", "a", "a", "b"), lab.send("crossing", "b", "b", "a")]
    lab.all_succeed(2)
    assert account("ab", lab.effects()) == EXACT
    assert len(lab.ledger.entries(event="began")) == 3, "there was no deadlock: the test proves nothing"
    assert [lab.job(job_id).retries for job_id in ids] == [0, 0]
    assert lab.query("SELECT value FROM counters ORDER BY name") == [(2,), (2,)]


@pytest.fixture
def proxied(lab: Lab) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy in front of the database, and the URL through it."""
    with FaultProxy(port_of(lab.database_url)) as proxy:
        yield proxy, with_port(lab.database_url, proxy.port)


def stays(lab: Lab, job_id: str) -> None:
    """Nothing is left that could change this success: the worker has had time to find out what it lost."""
    always(lambda: lab.job(job_id), lambda job: job.state == "SUCCESS" and job.attempt == 1, seconds=2)
    assert not lab.app.jobs.attempts(job_id)
    assert "claim.lost" not in lab.workers["w1"].log.read_text()


def test_lost_answer_to_a_finish_counts_as_finished(lab: Lab, proxied: tuple[FaultProxy, str]) -> None:
    proxy, url = proxied
    lab.worker("w1", database_url=url)
    job_id = lab.send("holding", "the-key", "a", 1.0)
    eventually(lambda: lab.ledger.entries("the-key", "locked"))
    proxy.cut_after(b"the-key", b"COMMIT")
    eventually(lambda: proxy.cuts)
    lab.all_succeed(1)
    stays(lab, job_id)
    assert account(["the-key"], lab.effects()) == EXACT


def test_lost_answer_to_a_finish_without_transaction_counts_as_finished(
    lab: Lab, proxied: tuple[FaultProxy, str]
) -> None:
    proxy, url = proxied
    lab.worker("w1", database_url=url)
    job_id = lab.send("effect", "a", 1.0, task_id="the-job")
    lab.began("a")
    proxy.cut_after(b"the-job")
    eventually(lambda: proxy.cuts)
    lab.all_succeed(1)
    stays(lab, job_id)
    assert account(["a"], lab.ledger.done()) == EXACT


def test_lost_answer_to_a_claim_still_runs_the_job_once(lab: Lab, proxied: tuple[FaultProxy, str]) -> None:
    proxy, url = proxied
    lab.worker("w1", database_url=url)
    proxy.cut_after(b"the-job")
    job_id = lab.send("effect", "a", task_id="the-job")
    eventually(lambda: proxy.cuts)
    lab.all_succeed(1)
    stays(lab, job_id)
    assert account(["a"], lab.ledger.done()) == EXACT


@pytest.fixture
def far_app(lab: Lab, proxied: tuple[FaultProxy, str]) -> Iterator[Trilho]:
    """The application of a web process behind the proxy."""
    app = build(broker=lab.broker_url, database=proxied[1])
    yield app
    app.close()


def test_lost_answer_to_an_enqueue_makes_one_job(lab: Lab, far_app: Trilho, proxied: tuple[FaultProxy, str]) -> None:
    proxy, _ = proxied
    far_app.tasks["lab.record"].delay("warm-up")
    proxy.cut_after(b"the-key")
    result = far_app.tasks["lab.record"].delay("the-key")
    assert proxy.cuts == 1
    assert lab.job(result.id).state == "PENDING"
    lab.worker("w1")
    lab.all_succeed(2)
    assert account(["warm-up", "the-key"], lab.effects()) == EXACT


def test_retry_of_a_request_whose_commit_answer_got_lost_makes_no_second_job(
    lab: Lab, far_app: Trilho, proxied: tuple[FaultProxy, str]
) -> None:
    proxy, _ = proxied

    def request() -> None:
        with far_app.transaction() as tx:
            tx.connection.execute("INSERT INTO counters VALUES ('the-key', 1) ON CONFLICT DO NOTHING")
            far_app.tasks["lab.record"].apply_async(args=("a",), task_id="the-job")

    proxy.cut_after(b"the-job", b"COMMIT")
    with pytest.raises(DATABASE_GONE):
        request()
    request()
    lab.worker("w1")
    lab.all_succeed(1)
    assert account(["a"], lab.effects()) == EXACT


def test_enqueue_fails_loudly_while_the_database_is_down(own_lab: Lab, own_postgres: Postgres) -> None:
    own_lab.send("record", "before")
    own_postgres.stop("immediate")
    with pytest.raises(DATABASE_GONE):
        own_lab.send("record", "during")
    own_postgres.start()
    own_lab.send("record", "after")
    own_lab.worker("w1")
    own_lab.all_succeed(2)
    assert account(["before", "after"], own_lab.effects()) == EXACT
