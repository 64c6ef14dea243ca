"""The broker is flushed, restarted, stopped or frozen: it is only a pipe."""

import time
from typing import Protocol

import pytest
import redis
from kombu.connection import Connection

from tests.faults.conftest import MakeLab
from tests.lab.lab import Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import eventually
from trilho.embedded import Valkey

PATIENCE = 0.2
"""Seconds that one `.delay()` may take, whatever the broker does."""


class Broker(Protocol):
    """A server that can be hurt."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def url(self) -> str: ...


@pytest.fixture(params=["own_valkey", pytest.param("own_rabbitmq", marks=pytest.mark.timeout(180))])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each kind of broker, of this test's own."""
    server: Broker = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def lab(make_lab: MakeLab, database: str, broker: Broker) -> Lab:
    return make_lab(database=database, broker=broker.url())


def flush(url: str) -> None:
    """Forget every waiting message, and who bound what."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.flushall()
        return
    with Connection(url) as connection:
        connection.default_channel.queue_delete("celery")


def test_jobs_that_wait_in_a_flushed_broker_run(lab: Lab, broker: Broker) -> None:
    keys = [f"job-{number}" for number in range(50)]
    lab.send_many("record", keys)
    time.sleep(0.5)
    flush(broker.url())
    lab.worker("w1")
    lab.all_succeed(50)
    assert account(keys, lab.effects()) == EXACT


def test_flushes_under_load_lose_nothing(lab: Lab, broker: Broker) -> None:
    keys = [f"job-{number}" for number in range(150)]
    lab.worker("w1")
    lab.send_many("record", keys, 0.05)
    for _ in range(3):
        time.sleep(1)
        flush(broker.url())
    lab.all_succeed(150, timeout=40)
    assert account(keys, lab.effects()) == EXACT
    lab.send("record", "afterwards")
    lab.all_succeed(151)


def test_restarts_under_load_lose_nothing(lab: Lab, broker: Broker) -> None:
    keys = [f"job-{number}" for number in range(100)]
    lab.worker("w1")
    for key in keys[:50]:
        lab.send("record", key, 0.05)
    for _ in range(2):
        broker.kill()
        time.sleep(1)
        broker.start()
        time.sleep(1)
    for key in keys[50:]:
        lab.send("record", key, 0.05)
    lab.all_succeed(100, timeout=40)
    assert account(keys, lab.effects()) == EXACT


def test_enqueue_returns_at_once_while_the_broker_is_down_and_the_job_runs_later(lab: Lab, broker: Broker) -> None:
    lab.send("record", "before")
    broker.kill()
    keys = [f"job-{number}" for number in range(20)]
    assert max(timed(lab, key) for key in keys) < PATIENCE
    broker.start()
    lab.worker("w1")
    lab.all_succeed(21, timeout=40)
    assert account(["before", *keys], lab.effects()) == EXACT


def timed(lab: Lab, key: str) -> float:
    """Seconds that one enqueue took."""
    begun = time.monotonic()
    lab.send("record", key)
    return time.monotonic() - begun


def test_worker_goes_on_without_its_broker(lab: Lab, broker: Broker) -> None:
    worker = lab.worker("w1")
    lab.send("record", "before")
    lab.all_succeed(1)
    broker.kill()
    lab.send_many("record", ["new-1", "new-2"])
    limited = lab.send("effect", "limited", 60.0, time_limit=2)
    retried = lab.send("flaky", "retried", 1, 1.0)
    eventually(lambda: lab.job(limited).state, lambda state: state == "FAILURE", timeout=20)
    eventually(lambda: lab.job(retried).state, lambda state: state == "SUCCESS", timeout=20)
    lab.send("record", "orphan", 20.0)
    lab.began("orphan")
    worker.kill_child(lab.ledger.entries("orphan")[0].pid)
    eventually(lab.states, lambda states: states == {"SUCCESS": 5, "FAILURE": 1}, timeout=20)
    assert account(["before", "new-1", "new-2", "retried", "orphan"], lab.effects()) == EXACT
    broker.start()
    lab.send("record", "afterwards")
    eventually(lambda: lab.effects()["afterwards"], timeout=20)


@pytest.mark.parametrize("broker", ["own_valkey"], indirect=True)
def test_enqueue_returns_at_once_while_the_broker_is_frozen(lab: Lab, broker: Valkey) -> None:
    lab.send("record", "before")
    broker.pause()
    keys = [f"job-{number}" for number in range(20)]
    slowest = max(timed(lab, key) for key in keys)
    broker.resume()
    assert slowest < PATIENCE
    lab.worker("w1")
    lab.all_succeed(21, timeout=30)
    assert account(["before", *keys], lab.effects()) == EXACT


@pytest.mark.parametrize("broker", ["own_valkey"], indirect=True)
def test_lease_is_renewed_while_the_broker_is_frozen(lab: Lab, broker: Valkey) -> None:
    lab.worker("w1", lease=1)
    job_id = lab.send("record", "a", 5.0)
    lab.began("a")
    broker.pause()
    eventually(lambda: lab.job(job_id).state, lambda state: state == "SUCCESS", timeout=20)
    broker.resume()
    assert lab.job(job_id).attempt == 1
