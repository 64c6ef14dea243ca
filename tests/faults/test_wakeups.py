"""Messages are repeated, forged, unknown or too many: a message is a hint, the row decides."""

import time
import uuid
from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from tests.faults.apps.application import build
from tests.lab.database import port_of, with_port
from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import always, eventually
from tests.lab.proxy import FaultProxy

QUEUE = "celery"


@pytest.fixture
def client(lab: Lab) -> Iterator[redis.Redis]:
    """The broker itself."""
    with redis.Redis.from_url(lab.broker_url) as client:
        yield client


@pytest.fixture
def stock(lab: Lab) -> Iterator[Celery]:
    """A plain Celery producer that has never heard of Trilho."""
    with Celery("stock", broker=lab.broker_url, set_as_current=False) as app:
        yield app


def messages(client: redis.Redis) -> list[bytes]:
    """What waits in the queue."""
    return [bytes(message) for message in client.lrange(QUEUE, 0, -1)]


def dropped(lab: Lab) -> int:
    """Wake-ups that the workers threw away."""
    return int(lab.query("SELECT coalesce(sum(dropped), 0) FROM trilho.processes")[0][0])


def test_repeated_messages_run_each_job_once(lab: Lab, client: redis.Redis) -> None:
    keys = [f"job-{number}" for number in range(40)]
    lab.send_many("effect", keys, 0.05)
    eventually(lambda: len(messages(client)), lambda count: count == 40)
    for message in messages(client) * 4:
        client.lpush(QUEUE, message)
    for name in ("w1", "w2"):
        lab.worker(name, wait=False)
    lab.all_succeed(40)
    eventually(lambda: dropped(lab), lambda count: count == 160)
    assert account(keys, lab.ledger.done()) == EXACT
    assert lab.query("SELECT max(attempt) FROM trilho.jobs") == [(1,)]


def test_message_of_a_finished_job_does_not_run_it_again(lab: Lab, client: redis.Redis) -> None:
    lab.send("effect", "a")
    (message,) = eventually(lambda: messages(client))
    lab.worker("w1")
    lab.all_succeed(1)
    client.lpush(QUEUE, message)
    eventually(lambda: dropped(lab), lambda count: count == 1)
    assert account(["a"], lab.ledger.done()) == EXACT


def test_wakeup_of_a_job_that_does_not_exist_is_dropped_and_counted(lab: Lab, client: redis.Redis) -> None:
    job_id = lab.send("effect", "a")
    (message,) = eventually(lambda: messages(client))
    client.delete(QUEUE)
    client.lpush(QUEUE, message.replace(job_id.encode(), str(uuid.uuid4()).encode()))
    lab.worker("w1")
    lab.all_succeed(1)
    eventually(lambda: dropped(lab), lambda count: count == 1)


def test_wakeup_that_came_long_before_its_commit_is_followed_by_another(lab: Lab) -> None:
    with FaultProxy(port_of(lab.database_url)) as proxy:
        app = build(broker=lab.broker_url, database=with_port(lab.database_url, proxy.port))
        task = app.tasks["lab.effect"]
        lab.worker("w1", resend_grace=60)
        eventually(lambda: (task.delay("quick"), app.enqueuer.commits_are_quick)[1])
        count = lab.states().total()
        lab.all_succeed(count)
        proxy.set(delay=0.2)
        late = task.delay("late")
        lab.all_succeed(count + 1)
        app.close()
    assert dropped(lab) >= 1, "the first wake-up led to nothing"
    assert lab.query("SELECT sends FROM trilho.jobs WHERE id = %s", late.id) == [(1,)], (
        "the dispatcher had no part in it"
    )


def test_job_of_a_plain_celery_producer_is_adopted_and_runs_once(lab: Lab, stock: Celery, client: redis.Redis) -> None:
    result = stock.send_task("lab.record", args=["a"], kwargs={"seconds": 0.1})
    (message,) = messages(client)
    client.lpush(QUEUE, message, message)
    lab.worker("w1")
    eventually(lambda: lab.states() == {"SUCCESS": 1})
    assert account(["a"], lab.effects()) == EXACT
    assert lab.job(result.id).result == "a"


def test_adopted_job_survives_the_death_of_its_worker(lab: Lab, stock: Celery) -> None:
    first = lab.worker("w1")
    stock.send_task("lab.record", args=["a"], kwargs={"seconds": 20.0})
    lab.began("a")
    first.kill()
    lab.worker("w2")
    lab.all_succeed(1)
    assert account(["a"], lab.effects()) == EXACT


def test_lost_message_is_sent_again_within_seconds(lab: Lab, client: redis.Redis) -> None:
    lab.worker("w1")
    lab.send("effect", "before")
    lab.all_succeed(1)
    lab.send("effect", "lost", queue="quiet")
    eventually(lambda: client.llen("quiet"))
    client.delete("quiet")
    lab.worker("w2", queues="quiet")
    lab.all_succeed(2, timeout=10)


@pytest.mark.timeout(90)
def test_deep_backlog_is_not_multiplied(lab: Lab, client: redis.Redis) -> None:
    lab.worker("w1", concurrency=1)
    keys = [f"job-{number}" for number in range(400)]
    lab.send_many("effect", keys, 0.03)
    always(lambda: client.llen(QUEUE), lambda depth: depth <= 400, seconds=6)
    lab.all_succeed(400, timeout=60)
    assert int(lab.query("SELECT sum(sends) FROM trilho.jobs")[0][0]) <= 420
    assert account(keys, lab.ledger.done()) == EXACT


@pytest.mark.timeout(90)
def test_recovered_job_does_not_wait_behind_a_backlog(lab: Lab) -> None:
    first = lab.worker("w1", concurrency=1)
    job_id = lab.send("record", "lost", 20.0)
    lab.began("lost")
    lab.send_many("effect", [f"job-{number}" for number in range(600)], 0.1)
    first.kill()
    lab.worker("w2", concurrency=1)
    lab.began("lost", 2, timeout=RECOVERY)
    eventually(lambda: lab.job(job_id).state, lambda state: state == "SUCCESS")
    assert lab.states()["PENDING"] > 200


def test_lost_message_does_not_wait_behind_a_backlog(lab: Lab, client: redis.Redis) -> None:
    job_id = lab.send("effect", "lost")
    eventually(lambda: client.llen(QUEUE))
    client.delete(QUEUE)
    lab.send_many("effect", [f"job-{number}" for number in range(600)], 0.1)
    lab.worker("w1", concurrency=1)
    eventually(lambda: lab.job(job_id).state, lambda state: state == "SUCCESS", timeout=RECOVERY)
    assert lab.states()["PENDING"] > 200


def test_job_of_a_task_that_no_worker_knows_waits_for_one_that_does(lab: Lab, stock: Celery) -> None:
    worker = lab.worker("w1", app="tests.faults.apps.narrow")
    job_id = lab.send("record", "a")
    eventually(lambda: lab.job(job_id).error)
    time.sleep(3)
    ((state, sends),) = lab.query("SELECT state, sends FROM trilho.jobs WHERE id = %s", job_id)
    assert state == "PENDING"
    assert sends <= 3
    worker.terminate()
    worker.wait()
    lab.worker("w2")
    lab.all_succeed(1)


def test_broker_drops_in_a_row_leave_no_worker_deaf(lab: Lab) -> None:
    with FaultProxy(port_of(lab.broker_url)) as proxy:
        url = with_port(lab.broker_url, proxy.port)
        for name in ("w1", "w2"):
            lab.worker(name, queues=name, broker_url=url)
        for _ in range(5):
            proxy.cut()
            time.sleep(0.4)
        for name in ("w1", "w2"):
            lab.send("record", name, queue=name)
        lab.all_succeed(2, timeout=30)
