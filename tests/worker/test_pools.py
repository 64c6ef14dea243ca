"""What every pool promises: one suite of claims, inherited by each. Their faults are in `tests/faults`."""

import time
from collections.abc import Iterator
from functools import partial
from operator import eq
from typing import Any, ClassVar

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from tests.lab import database as databases
from tests.lab.poll import always, eventually
from tests.worker.conftest import Stand, standing
from trilho import Result

SOON = 15.0


def begun(stand: Stand, result: Result[object]) -> None:
    eventually(lambda: stand.job(result).state, lambda state: state in {"STARTED", "PROCESSING"})


def ended(stand: Stand, result: Result[object]) -> Any:
    return stand.app.jobs.wait(result.id, timeout=SOON)


@pytest.fixture(scope="class")
def stand(
    request: pytest.FixtureRequest, postgres_server: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A worker with the pool of the class."""
    url = databases.create(postgres_server, template=template)
    with databases.connect(url) as connection:
        connection.execute("CREATE TABLE effects (name text)")
    with standing(url, tmp_path_factory.mktemp("worker"), "-P", request.cls.name) as stand:
        yield stand
    databases.drop(url)


class Pool:
    """The claims."""

    name: ClassVar[str]
    at_once: ClassVar[int] = 2

    @pytest.fixture
    def effects(self, stand: Stand) -> Iterator[Any]:
        def names() -> list[str]:
            rows = stand.app.database.run(lambda c: c.execute("SELECT name FROM effects ORDER BY name").fetchall())
            return [str(name) for (name,) in rows]

        yield names
        stand.app.database.run(lambda c: c.execute("DELETE FROM effects"))

    # ---- bodies

    def test_result_comes_back(self, stand: Stand) -> None:
        assert stand.send("echo", {"a": [1, None]}).get(timeout=SOON) == {"a": [1, None]}

    def test_many_jobs_run_each_once(self, stand: Stand) -> None:
        results = stand.app.enqueue_many(stand.app.tasks["test.echo"], [(number,) for number in range(100)])
        assert [result.get(timeout=SOON) for result in results] == list(range(100))
        assert {stand.job(result).attempt for result in results} == {1}

    def test_bodies_run_at_the_same_time(self, stand: Stand) -> None:
        results = [stand.send("steady", 0.6) for _ in range(4)]
        eventually(lambda: sum(stand.job(r).state == "STARTED" for r in results), lambda n: n == self.at_once)
        assert [ended(stand, result).state for result in results] == ["SUCCESS"] * 4

    def test_exception_is_a_failure_and_the_worker_goes_on(self, stand: Stand) -> None:
        job = ended(stand, stand.send("fails"))
        assert (job.state, job.error, job.attempt) == ("FAILURE", "ValueError: on purpose", 1)
        assert ended(stand, stand.send("unpicklable")).state == "FAILURE"

    def test_retries_come_to_an_end(self, stand: Stand) -> None:
        result = stand.send("flaky", 2)
        assert result.get(timeout=SOON) == 2
        assert [attempt.state for attempt in stand.app.jobs.attempts(result.id)] == ["RETRY", "RETRY"]

    def test_last_report_is_seen_while_the_body_goes_on(self, stand: Stand) -> None:
        results = [stand.send("steps", count, 1.0) for count in (300, 400)]
        for result, count in zip(results, (300, 400), strict=True):
            eventually(partial(self.current, stand, result), partial(eq, count))
            ended(stand, result)

    def current(self, stand: Stand, result: Result[object]) -> Any:
        return (stand.job(result).progress or {}).get("current")

    def test_effect_exists_if_the_job_succeeded(self, stand: Stand, effects: Any) -> None:
        results = [stand.send("records", name) for name in ("a", "bad", "b")]
        assert [ended(stand, result).state for result in results] == ["SUCCESS", "FAILURE", "SUCCESS"]
        assert effects() == ["a", "b"]

    # ---- coroutines

    def test_coroutine_runs_on_a_loop_that_is_kept(self, stand: Stand) -> None:
        seen: list[Any] = [stand.send("where").get(timeout=SOON) for _ in range(6)]
        assert len({tuple(each) for each in seen}) <= self.at_once

    def test_transactional_coroutine_commits_with_its_job(self, stand: Stand, effects: Any) -> None:
        result = stand.send("awaits_in_transaction", "a")
        assert (result.get(timeout=SOON), effects()) == ("a", ["a"])
        children = stand.app.database.run(
            lambda c: c.execute("SELECT id FROM trilho.jobs WHERE parent_id = %s", (result.id,)).fetchall()
        )
        assert stand.app.AsyncResult(children[0][0]).get(timeout=SOON) == "a"

    def test_coroutine_that_nobody_awaited_is_a_failure(self, stand: Stand) -> None:
        job = ended(stand, stand.send("forgets"))
        assert (job.state, "nobody awaited" in job.error) == ("FAILURE", True)

    # ---- limits and cancels

    @pytest.mark.parametrize("task", ["polite", "polite_coroutine"])
    def test_soft_time_limit_is_raised_in_the_body(self, stand: Stand, task: str) -> None:
        task = "steady" if task == "polite" and self.name == "threads" else task
        result = stand.send(task, *([30.0] if task == "steady" else []), soft_time_limit=1)
        if task == "steady":
            with pytest.raises(SoftTimeLimitExceeded):
                result.get(timeout=SOON)
        else:
            assert result.get(timeout=SOON) == "cleaned up"

    @pytest.mark.parametrize("task", ["steady", "awaits"])
    def test_hard_time_limit_ends_the_job(self, stand: Stand, task: str) -> None:
        args = [60.0] if task == "steady" else [1, 60.0]
        job = ended(stand, stand.send(task, *args, time_limit=1))
        assert (job.state, str(job.error).split(":")[0], job.crash_count) == ("FAILURE", "TimeLimitExceeded", 0)
        assert stand.send("echo", "still here").get(timeout=SOON) == "still here"

    @pytest.mark.parametrize("how", ["cancel", "revoke", "revoke running"])
    def test_waiting_job_never_begins_once_it_is_cancelled(self, stand: Stand, how: str) -> None:
        result = stand.send("echo", 1, countdown=60)
        if how == "cancel":
            stand.app.jobs.cancel(result.id)
        else:
            result.revoke(terminate=how == "revoke running")
        job = stand.job(result)
        assert (job.state, job.attempt) == ("REVOKED", 0)

    @pytest.mark.parametrize("task", ["steady", "awaits"])
    @pytest.mark.parametrize("how", ["cancel", "revoke"])
    def test_running_job_is_ended_and_its_neighbour_is_not(self, stand: Stand, task: str, how: str) -> None:
        args = [60.0] if task == "steady" else [1, 60.0]
        result = stand.send(task, *args)
        begun(stand, result)
        neighbour = stand.send("steady", 1.0)
        if how == "cancel":
            stand.app.jobs.cancel(result.id)
        else:
            result.revoke(terminate=True)
        job = ended(stand, result)
        assert (job.state, job.crash_count, job.attempt) == ("REVOKED", 0, 1)
        with pytest.raises(TaskRevokedError):
            result.get(timeout=1)
        assert (neighbour.get(timeout=SOON), stand.job(neighbour).attempt) == ("done", 1)

    def test_revoke_without_terminate_leaves_a_running_body_alone(self, stand: Stand) -> None:
        result = stand.send("steady", 1.0)
        begun(stand, result)
        result.revoke()
        assert ended(stand, result).state == "SUCCESS"

    def test_cancelled_job_runs_again_under_its_id(self, stand: Stand) -> None:
        result = stand.send("awaits", "again", 2.0)
        begun(stand, result)
        stand.app.jobs.cancel(result.id)
        assert ended(stand, result).state == "REVOKED"
        stand.app.jobs.retry(result.id)
        assert ended(stand, result).result == "again"

    def test_job_that_waits_for_its_retry_is_cancelled_at_once(self, stand: Stand) -> None:
        result = stand.app.tasks["test.flaky"].apply_async((99,), countdown=0)
        eventually(lambda: stand.job(result).state, lambda state: state == "RETRY", every=0.005)
        stand.app.jobs.cancel(result.id)
        assert ended(stand, result).state == "REVOKED"
        attempt = stand.job(result).attempt
        always(lambda: stand.job(result), lambda job: (job.state, job.attempt) == ("REVOKED", attempt), seconds=0.5)

    # ---- what others see

    def test_inspect_shows_the_pool_and_what_it_runs(self, stand: Stand) -> None:
        result = stand.send("awaits", "look", 2.0)
        begun(stand, result)
        inspect = stand.app.control.inspect(timeout=5, limit=1)
        [active] = eventually(lambda: inspect.active() or {}).values()
        if self.at_once > 1:  # a body of the main thread lets nobody ask
            assert [each["name"] for each in active if each["id"] == result.id] == ["test.awaits"]
        [stats] = eventually(lambda: inspect.stats() or {}).values()
        assert stats["pool"]["max-concurrency"] == self.at_once
        assert ended(stand, result).state == "SUCCESS"
        eventually(lambda: list((inspect.active() or {"": ["?"]}).values()), lambda found: found == [[]])

    def test_statistics_name_the_pool(self, stand: Stand) -> None:
        [worker] = eventually(lambda: stand.app.jobs.stats().workers)
        assert (worker.pool, worker.concurrency, worker.pid) == (self.name, self.at_once, stand.worker.pid)

    def test_idle_round_trip_is_short(self, stand: Stand) -> None:
        took = []
        for number in range(10):
            began = time.monotonic()
            assert stand.send("echo", number).get(timeout=SOON) == number
            took.append(time.monotonic() - began)
        assert sorted(took)[len(took) // 2] < 0.5


class TestPrefork(Pool):
    name = "prefork"

    def test_coroutine_that_does_not_await_is_interrupted_too(self, stand: Stand) -> None:
        job = ended(stand, stand.send("impolite_coroutine", soft_time_limit=1))
        assert (job.state, str(job.error).split("(")[0].split(":")[0]) == ("FAILURE", "SoftTimeLimitExceeded")


class TestThreads(Pool):
    name = "threads"


class TestSolo(Pool):
    name = "solo"
    at_once = 1

    def test_system_call_in_the_main_thread_is_interrupted(self, stand: Stand) -> None:
        result = stand.send("hangs")
        begun(stand, result)
        stand.app.jobs.cancel(result.id)
        assert ended(stand, result).state == "REVOKED"
