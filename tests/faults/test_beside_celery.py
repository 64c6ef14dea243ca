"""A plain Celery producer and a plain Celery worker beside Trilho's, on one broker, as during a migration."""

from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from tests.lab.lab import Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import always, eventually

PLAIN = "tests.faults.apps.plain"

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def producer(lab: Lab) -> Iterator[Celery]:
    """A plain Celery producer that has never heard of Trilho."""
    with Celery("plain", broker=lab.broker_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def client(lab: Lab) -> Iterator[redis.Redis]:
    """The broker itself."""
    with redis.Redis.from_url(lab.broker_url) as client:
        yield client


def test_plain_worker_runs_nothing_of_a_trilho_producer_and_a_trilho_worker_runs_all_of_it_later(
    lab: Lab, client: redis.Redis
) -> None:
    plain = lab.worker("plain", app=PLAIN)
    keys = [f"job-{number}" for number in range(3)]
    lab.send_many("effect", keys)
    lab.send("alone")
    assert lab.app.pipe.flush(timeout=5)
    eventually(lambda: client.llen("celery"), lambda depth: depth == 0)
    always(lab.states, lambda states: states == {"PENDING": 4}, seconds=1)
    assert lab.ledger.entries() == []
    plain.end()
    lab.worker("w1")
    lab.all_succeed(4)
    assert account([*keys, "alone"], lab.ledger.done()) == EXACT


def test_jobs_of_both_producers_run_once_with_both_workers_on_one_queue(lab: Lab, producer: Celery) -> None:
    worker = lab.worker("w1", wait=False)
    lab.worker("plain", app=PLAIN)
    worker.wait_ready()
    of_plain = [f"plain-{number}" for number in range(100)]
    of_trilho = [f"trilho-{number}" for number in range(100)]
    for one, other in zip(of_plain, of_trilho, strict=True):
        producer.send_task("lab.effect", (one, 0.01))
        lab.send("effect", other, 0.01)
    eventually(lambda: sum(lab.ledger.done().values()), lambda count: count >= 200, timeout=45, every=0.3)
    always(lambda: sum(lab.ledger.done().values()), lambda count: count == 200, seconds=1.5)
    assert account(of_plain + of_trilho, lab.ledger.done()) == EXACT
    adopted = lab.states()["SUCCESS"] - 100
    assert 0 < adopted < 100, "each worker has had some of the plain producer's messages"
