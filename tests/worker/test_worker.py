"""A real worker: results, retries, time limits, cancelling, and what `celery inspect` shows."""

import threading
import time
from typing import Any

import celery.exceptions
import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import chain, chord, group

from tests.lab.poll import eventually
from tests.worker.conftest import Stand
from trilho import Result

SOON = 15.0


def running(stand: Stand, result: Result[object]) -> None:
    eventually(lambda: stand.job(result).state, lambda state: state in {"STARTED", "PROCESSING"})


def ended(stand: Stand, result: Result[object]) -> Any:
    return stand.app.jobs.wait(result.id, timeout=SOON)


def test_result_comes_back(stand: Stand) -> None:
    assert stand.send("echo", {"a": [1, None]}).get(timeout=SOON) == {"a": [1, None]}


def test_idle_round_trip_is_short(stand: Stand) -> None:
    """No step of it may wait for a poll."""
    took = []
    for number in range(20):
        began = time.monotonic()
        assert stand.send("echo", number).get(timeout=SOON) == number
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.5


def test_job_that_is_due_later_runs_then(stand: Stand) -> None:
    began = time.monotonic()
    assert stand.send("echo", 1, countdown=1).get(timeout=SOON) == 1
    assert time.monotonic() - began >= 0.95


def test_many_jobs_run_each_once(stand: Stand) -> None:
    results = stand.app.enqueue_many(stand.app.tasks["test.echo"], [(number,) for number in range(200)])
    assert [result.get(timeout=SOON) for result in results] == list(range(200))
    assert {stand.job(result).attempt for result in results} == {1}


def test_both_pool_processes_work(stand: Stand) -> None:
    results = [stand.send("echo", number, 0.5) for number in range(4)]
    eventually(lambda: sum(stand.job(result).state == "STARTED" for result in results), lambda count: count == 2)
    assert [ended(stand, result).state for result in results] == ["SUCCESS"] * 4


def test_retries_come_to_an_end(stand: Stand) -> None:
    result = stand.send("flaky", 2)
    assert result.get(timeout=SOON) == 2
    assert [attempt.state for attempt in stand.app.jobs.attempts(result.id)] == ["RETRY", "RETRY"]


def test_canvas_runs_to_its_end(stand: Stand) -> None:
    echo = stand.app.tasks["test.echo"]
    assert chain(echo.s(5), echo.s()).apply_async().get(timeout=SOON) == 5
    assert group(echo.s(n) for n in range(3)).apply_async().get(timeout=SOON) == [0, 1, 2]
    assert chord([echo.s(n) for n in range(3)])(echo.s()).get(timeout=SOON) == [0, 1, 2]


def test_exception_that_pickle_cannot_carry_ends_the_job(stand: Stand) -> None:
    job = ended(stand, stand.send("unpicklable"))
    assert job.state == "FAILURE"
    assert "Local" in str(job.error)
    assert stand.send("echo", "still here").get(timeout=SOON) == "still here"


def test_waiting_inside_a_task_is_refused(stand: Stand) -> None:
    other = stand.send("echo", 1)
    with pytest.raises(RuntimeError, match=r"Never call result\.get"):
        stand.send("waits", other.id).get(timeout=SOON)


def test_last_report_of_a_body_that_goes_on_is_seen_while_it_runs(stand: Stand) -> None:
    result = stand.send("steps", 500, 3.0)
    eventually(lambda: (stand.job(result).progress or {}).get("current"), lambda current: current == 500, timeout=10)
    assert stand.job(result).state == "PROCESSING"
    ended(stand, result)


# ---- time limits


def test_soft_time_limit_is_raised_in_the_body(stand: Stand) -> None:
    assert stand.send("polite", soft_time_limit=1).get(timeout=SOON) == "cleaned up"


def test_body_that_ignores_its_soft_time_limit_fails(stand: Stand) -> None:
    job = ended(stand, stand.send("hangs", soft_time_limit=1))
    assert (job.state, job.attempt) == ("FAILURE", 1)
    assert str(job.error).startswith("SoftTimeLimitExceeded")


def test_hard_time_limit_ends_the_process_and_the_job(stand: Stand) -> None:
    result = stand.send("hangs", time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=SOON)
    job = stand.job(result)
    assert (job.state, job.attempt, job.crash_count) == ("FAILURE", 1, 0)
    assert [attempt.state for attempt in stand.app.jobs.attempts(result.id)] == ["FAILURE"]
    assert stand.send("echo", "still here").get(timeout=SOON) == "still here"


# ---- ending jobs


@pytest.mark.parametrize("how", ["app.jobs.cancel", "result.revoke"])
def test_running_job_is_ended_within_seconds(stand: Stand, how: str) -> None:
    result = stand.send("hangs")
    running(stand, result)
    if how == "app.jobs.cancel":
        stand.app.jobs.cancel(result.id)
    else:
        result.revoke(terminate=True)
    job = ended(stand, result)
    assert (job.state, job.crash_count) == ("REVOKED", 0)
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=1)


def test_revoked_job_can_run_again_with_the_same_id(stand: Stand) -> None:
    """Celery's workers remember revoked ids for hours and would drop it."""
    result = stand.send("echo", "again", countdown=60)
    result.revoke()
    assert stand.job(result).state == "REVOKED"
    time.sleep(0.3)  # the workers have heard of it
    stand.app.jobs.retry(result.id)
    assert ended(stand, result).result == "again"


def test_expired_job_never_runs(stand: Stand) -> None:
    result = stand.send("echo", 1, countdown=1, expires=0.2)
    assert ended(stand, result).state == "REVOKED"
    assert stand.job(result).attempt == 0


# ---- what others see


def test_inspect_shows_the_right_tasks(stand: Stand) -> None:
    result = stand.send("echo", "look", 30.0)
    running(stand, result)
    inspect = stand.app.control.inspect(timeout=1)
    [active] = eventually(lambda: inspect.active() or {}).values()
    [task] = [each for each in active if each["id"] == result.id]
    assert (task["name"], task["worker_pid"] in {process.pid for process in stand.worker.pool()}) == ("test.echo", True)
    assert "look" in str(task["args"])
    [shown] = inspect.stats().values()
    assert shown["pool"]["max-concurrency"] == 2
    [registered] = inspect.registered().values()
    assert "test.echo" in registered
    stand.app.jobs.cancel(result.id)


def test_statistics_show_the_worker_and_its_queue(stand: Stand) -> None:
    before = stand.app.jobs.stats().workers[0].processed
    stand.send("echo", 1).get(timeout=SOON)
    [worker] = eventually(
        lambda: stand.app.jobs.stats().workers, lambda workers: workers[0].processed > before, timeout=SOON
    )
    assert (worker.state, worker.pool, worker.concurrency, worker.pid) == ("running", "prefork", 2, stand.worker.pid)
    assert worker.name.startswith("w1@")
    eventually(lambda: [queue.name for queue in stand.app.jobs.stats().queues], lambda names: names == ["celery"])


def test_task_events_are_celerys(stand: Stand) -> None:
    seen: dict[str, list[str]] = {}

    def remember(event: dict[str, Any]) -> None:
        seen.setdefault(event.get("uuid", ""), []).append(event["type"])

    # One capture for the whole test: what is sent between two of them reaches nobody.
    connection = stand.app.connection_for_read()
    receiver = stand.app.events.Receiver(connection, handlers={"*": remember})
    thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None})
    thread.start()
    stand.app.control.enable_events()
    try:  # nobody says when the receiver and the worker have begun
        eventually(
            lambda: [stand.send("echo", 1).get(timeout=SOON), *seen.values()],
            lambda kinds: ["task-received", "task-started", "task-succeeded"] in kinds,
            every=0.3,
        )
    finally:
        stand.app.control.disable_events()
        receiver.should_stop = True
        thread.join()
        connection.release()


def test_pool_process_is_reused(stand: Stand) -> None:
    pids = {stand.send("pid").get(timeout=SOON) for _ in range(10)}
    assert pids <= {process.pid for process in stand.worker.pool()}
