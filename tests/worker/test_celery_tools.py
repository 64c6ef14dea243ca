"""Celery's own tools on a Trilho worker: they look, they steer, and nothing they do loses a job."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery.bin.call import call
from celery.bin.control import control, inspect, status
from celery.bin.purge import purge
from celery.bin.result import result as result_command
from celery.signals import after_task_publish, before_task_publish

from tests.lab.poll import always, eventually
from tests.worker.watching import Watch, watching
from trilho import Result

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def watch(postgres_server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with watching(postgres_server, template, tmp_path_factory.mktemp("tools")) as watch:
        yield watch


def here(watch: Watch) -> tuple[str, str]:
    """What addresses the shared worker only."""
    [name] = [worker.name for worker in watch.app.jobs.stats().workers if worker.pid == watch.worker.pid]
    return "-d", name


def begun(watch: Watch, *results: Result[object]) -> None:
    for result in results:
        watch.state(result, "STARTED")


# ---- looking


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("active", "w1@"),
        ("reserved", "w1@"),
        ("scheduled", "w1@"),
        ("revoked", "w1@"),
        ("registered", "watched.echo"),
        ("stats", "max-concurrency"),
        ("active_queues", "'name': 'celery'"),
        ("report", "trilho.jobs.backend:PostgresBackend"),
        ("conf", "trilho.worker.consumer:JobConsumer"),
        ("ping", "pong"),
    ],
)
def test_inspect_answers(watch: Watch, command: str, shown: str) -> None:
    # It listens until its time is over, also when all have answered.
    printed = eventually(lambda: watch.run(inspect, command, "-t", "0.3"), ignoring=(AssertionError,))
    assert shown in printed
    assert "1 node online" in printed


def test_reports_hide_the_password_of_the_broker(watch: Watch) -> None:
    password = watch.broker.split("@")[0].rpartition(":")[2]
    assert len(password) > 10
    for printed in (watch.run(inspect, "conf"), watch.app.bugreport()):
        assert password not in printed


def test_status_counts_the_worker(watch: Watch) -> None:
    assert "1 node online" in watch.run(status)


def test_call_enqueues_a_job_and_result_shows_its_end(watch: Watch) -> None:
    job_id = watch.run(call, "watched.add", "--args", "[40, 2]").strip()
    assert watch.run(result_command, job_id).strip() == "42"
    assert watch.app.jobs.get(job_id).state == "SUCCESS"


def test_query_task_tells_running_from_waiting(watch: Watch) -> None:
    results = [watch.send("echo", number, 20) for number in range(3)]
    eventually(lambda: sum(watch.job(result).state == "STARTED" for result in results), lambda count: count == 2)
    printed = eventually(
        lambda: watch.run(inspect, "query_task", *(result.id for result in results)),
        lambda text: text.count('"active"') == 2,
    )
    assert printed.count("watched.echo") >= 2
    for result in results:
        result.revoke(terminate=True)
    for result in results:
        watch.state(result, "REVOKED")


# ---- revoking


@pytest.mark.parametrize("client", ["celery control", "plain client"])
def test_waiting_job_is_revoked(watch: Watch, client: str) -> None:
    result = watch.send("echo", "never", countdown=600)
    if client == "plain client":
        watch.plain.control.revoke(result.id)
    else:
        watch.run(control, "revoke", result.id)
    watch.state(result, "REVOKED")
    assert watch.job(result).attempt == 0
    eventually(lambda: watch.run(inspect, "revoked"), lambda text: result.id in text)


@pytest.mark.parametrize("client", ["celery control", "plain client"])
def test_running_job_is_terminated(watch: Watch, client: str) -> None:
    result = watch.send("echo", "long", 60)
    begun(watch, result)
    if client == "plain client":
        watch.plain.control.revoke(result.id, terminate=True)
    else:
        watch.run(control, "terminate", "TERM", result.id)
    assert watch.state(result, "REVOKED").crash_count == 0


def test_revoke_without_terminate_leaves_a_running_job_alone(watch: Watch) -> None:
    result = watch.send("echo", "kept", 1.0)
    begun(watch, result)
    watch.plain.control.revoke(result.id)
    watch.run(control, "revoke", result.id)
    watch.state(result, "SUCCESS")


def test_revoke_that_a_worker_hears_late_does_not_end_the_job_that_was_run_again(watch: Watch) -> None:
    result = watch.send("echo", "again", countdown=600)
    os.kill(watch.worker.pid, signal.SIGSTOP)
    try:
        result.revoke()
        assert watch.app.jobs.retry(result.id).state == "PENDING"
    finally:
        os.kill(watch.worker.pid, signal.SIGCONT)
    assert watch.state(result, "SUCCESS").result == "again"


# ---- steering


def test_purge_deletes_messages_and_no_job(watch: Watch) -> None:
    watch.run(control, "cancel_consumer", "celery", *here(watch))
    results = [watch.send("add", number, 1) for number in range(5)]
    watch.app.pipe.flush()
    assert "Purged 5 messages" in watch.run(purge, "-f", "-Q", "celery")
    watch.run(control, "add_consumer", "celery", *here(watch))
    for result in results:
        assert watch.state(result, "SUCCESS").attempt == 1


def test_queue_is_consumed_from_when_it_is_added_and_no_longer_when_it_is_cancelled(watch: Watch) -> None:
    first = watch.send("add", 1, 1, queue="extra")
    always(lambda: watch.job(first).state, lambda state: state == "PENDING", seconds=0.5)
    watch.run(control, "add_consumer", "extra", *here(watch))
    watch.state(first, "SUCCESS")
    watch.run(control, "cancel_consumer", "extra", *here(watch))
    eventually(lambda: watch.run(inspect, "active_queues"), lambda text: "extra" not in text)
    second = watch.send("add", 1, 1, queue="extra")
    always(lambda: watch.job(second).state, lambda state: state == "PENDING", seconds=1.0)
    second.revoke()


def test_pool_grows_and_shrinks_and_loses_nothing(watch: Watch) -> None:
    watch.run(control, "pool_grow", "2", *here(watch))
    four = [watch.send("echo", number, 2.0) for number in range(4)]
    eventually(lambda: [watch.job(result).state for result in four], lambda states: states == ["STARTED"] * 4)
    assert "All processes busy" in watch.run(control, "pool_shrink", "1", *here(watch))
    for result in four:
        watch.state(result, "SUCCESS")
    many = [watch.send("echo", number, 0.05) for number in range(30)]
    shrunk = "will shrink" in watch.run(control, "pool_shrink", "1", *here(watch))
    for result in many:
        assert watch.state(result, "SUCCESS").crash_count == 0
    for left in (3, 2)[shrunk:]:
        eventually(lambda left=left: len(watch.worker.pool()), lambda count, left=left: count == left + 1)
        assert "will shrink" in watch.run(control, "pool_shrink", "1", *here(watch))
    assert "keeps one process" in watch.run(control, "pool_shrink", "2", *here(watch))
    eventually(lambda: len(watch.worker.pool()), lambda count: count == 2)


def test_rate_limit_spreads_jobs_and_repeated_wakeups_do_not_slow_them(watch: Watch) -> None:
    watch.run(control, "rate_limit", "watched.add", "5/s", *here(watch))
    try:
        results = [watch.send("add", number, 0) for number in range(10)]
        ended = sorted(watch.state(result, "SUCCESS").finished_at or 0 for result in results)
        took = (ended[-1] - ended[0]).total_seconds()  # type: ignore[operator, union-attr]
        assert 1.5 < took < 4.5
    finally:
        watch.run(control, "rate_limit", "watched.add", "0", *here(watch))


def test_time_limit_set_from_outside_ends_a_body_and_the_hooks_hear_of_it(watch: Watch) -> None:
    watch.run(control, "time_limit", "watched.echo", "0", "1", *here(watch))
    try:
        result = watch.send("echo", "slow", 60)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=15)
    finally:
        watch.run(control, "time_limit", "watched.echo", "0", "0", *here(watch))
    heard = eventually(lambda: watch.noted("watched.echo"), lambda lines: "task_failure" in lines)
    assert heard[-3:] == ["on_failure TimeLimitExceeded", "after_return FAILURE", "task_failure"]


def test_shutdown_from_remote_is_bounded_and_gives_the_job_back(watch: Watch) -> None:
    with watch.other("leaving", "leaving") as worker:
        result = watch.send("echo", "long", 60, queue="leaving")
        begun(watch, result)
        watch.app.control.shutdown(destination=[watch.job(result).worker])
        worker.wait(timeout=15)
    job = watch.job(result)
    assert (job.state, job.crash_count) == ("PENDING", 0)
    result.revoke()


def test_autoscaled_worker_that_recycles_its_processes_and_purges_at_its_start_loses_nothing(watch: Watch) -> None:
    early = [watch.send("pid", queue="scaled") for _ in range(8)]
    watch.app.pipe.flush()
    options = ("--autoscale=4,1", "--max-tasks-per-child=2", "--max-memory-per-child=1000000", "--purge")
    with watch.other("scaled", "scaled", *options, AUTOSCALE_KEEPALIVE="1") as worker:
        pids = {watch.state(result, "SUCCESS").result for result in early}
        assert len(pids) >= 4
        four = [watch.send("echo", number, 2.0, queue="scaled") for number in range(4)]
        eventually(lambda: [watch.job(result).state for result in four], lambda states: states == ["STARTED"] * 4)
        assert len(worker.pool()) == 4
        for result in four:
            watch.state(result, "SUCCESS")
        eventually(lambda: len(worker.pool()), lambda count: count == 1, timeout=20)
        last = [watch.send("echo", number, queue="scaled") for number in range(10)]
        for result in last:
            watch.state(result, "SUCCESS")
        jobs = [watch.job(result) for result in [*early, *four, *last]]
    assert {(job.attempt, job.crash_count) for job in jobs} == {(1, 0)}


# ---- signals and hooks

ATTEMPT = ["task_received", "before_start", "task_prerun"]


@pytest.mark.parametrize(
    ("task", "ends"),
    [
        ("echo", ["on_success", "task_success", "after_return SUCCESS", "task_postrun"]),
        ("fails", ["on_failure ValueError", "task_failure", "after_return FAILURE", "task_postrun"]),
        ("again", ["on_retry", "task_retry", "task_postrun", "on_success", "task_success"]),
        ("dies", ["on_failure WorkerLostError", "after_return FAILURE", "task_failure"]),
    ],
)
def test_signals_and_hooks_fire(watch: Watch, task: str, ends: list[str]) -> None:
    name = f"watched.{task}"
    before = len(watch.noted(name))
    result = watch.send(task, max_crashes=0)
    eventually(lambda: watch.job(result).finished)
    heard = eventually(lambda: watch.noted(name)[before:], lambda lines: set(ends + ATTEMPT) <= set(lines))
    assert [word for word in heard if word in ends][: len(ends)] == ends
    assert not any(word.startswith("task_unknown") for word in heard)


def test_publishing_signals_fire_in_the_producer(watch: Watch) -> None:
    seen: list[str] = []

    def before(sender: object = None, **_: object) -> None:
        seen.append(f"before {sender}")

    def after(sender: object = None, **_: object) -> None:
        seen.append(f"after {sender}")

    before_task_publish.connect(before)
    after_task_publish.connect(after)
    try:
        watch.send("add", 1, 1)
    finally:
        before_task_publish.disconnect(before)
        after_task_publish.disconnect(after)
    assert seen == ["before watched.add", "after watched.add"]


@pytest.mark.parametrize("how", ["waiting", "running", "expired"])
def test_task_revoked_fires_once_however_the_job_was_revoked(watch: Watch, how: str) -> None:
    before = watch.noted("watched.echo").count("task_revoked")
    if how == "expired":
        watch.send("echo", expires=-1)
    elif how == "running":
        result = watch.send("echo", "x", 60)
        begun(watch, result)
        result.revoke(terminate=True)
    else:
        busy = [watch.send("echo", "busy", 1.0) for _ in watch.worker.pool()]
        begun(watch, *busy)
        result = watch.send("echo", "x")
        watch.app.pipe.flush()
        result.revoke()
    eventually(lambda: watch.noted("watched.echo").count("task_revoked"), lambda count: count == before + 1)
    time.sleep(0.3)
    assert watch.noted("watched.echo").count("task_revoked") == before + 1


def test_signals_of_the_worker_fire(watch: Watch) -> None:
    words = {line.split()[0] for line in watch.noted()}
    assert {"celeryd_after_setup", "worker_init", "worker_ready", "worker_process_init"} <= words
