"""`AsyncResult` on the rows."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import celery.exceptions
import pytest
from billiard.exceptions import WorkerLostError
from celery import group
from celery.result import GroupResult

from tests.jobs.shop import Query
from tests.lab.poll import eventually
from trilho import Task, Trilho, UnknownJob
from trilho.testing import Harness

Divide = Task[[int, int], float]


class OutOfStock(Exception):
    """Of the application's own."""


@pytest.fixture
def divide(app: Trilho) -> Divide:
    @app.task
    def divide(x: int, y: int) -> float:
        return x / y

    return divide


def test_success_is_seen_in_every_way(divide: Divide, trilho: Harness) -> None:
    result = divide.delay(1, 2)
    assert (result.state, result.info, result.ready(), result.successful()) == ("PENDING", None, False, False)
    trilho.run_until_idle()
    assert (result.state, result.info, result.ready(), result.successful()) == ("SUCCESS", 0.5, True, True)
    assert (result.get(timeout=0), result.failed(), result.traceback) == (0.5, False, None)


def test_extended_facts_are_those_of_the_row(divide: Divide, trilho: Harness) -> None:
    result = divide.apply_async((1,), {"y": 2}, queue="low")
    trilho.run_until_idle()
    assert (result.name, result.args, result.kwargs, result.queue, result.retries) == (
        divide.name,
        [1],
        {"y": 2},
        "low",
        0,
    )
    assert result.worker == "testing"
    assert result.date_done is not None


def test_exception_comes_back_as_its_class(divide: Divide, trilho: Harness) -> None:
    result = divide.delay(1, 0)
    trilho.run_until_idle()
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        result.get(timeout=1)
    assert isinstance(result.info, ZeroDivisionError)
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "return x / y" in result.traceback
    assert isinstance(result.get(timeout=1, propagate=False), ZeroDivisionError)


def test_exception_of_the_application_comes_back_with_its_arguments(app: Trilho, trilho: Harness) -> None:
    @app.task
    def order() -> None:
        raise OutOfStock("shoes", 3)

    result = order.delay()
    trilho.run_until_idle()
    with pytest.raises(OutOfStock) as raised:
        result.get(timeout=1)
    assert raised.value.args == ("shoes", 3)
    assert app.jobs.get(result.id).error == "OutOfStock: ('shoes', 3)"


def test_unknown_id_is_told_from_a_waiting_job(app: Trilho, divide: Divide) -> None:
    known, unknown = divide.delay(1, 2), app.AsyncResult("never-enqueued")
    assert (known.exists(), unknown.exists()) == (True, False)
    with pytest.raises(UnknownJob, match="never-enqueued"):
        unknown.get(timeout=1)
    with pytest.raises(UnknownJob):
        app.jobs.get("never-enqueued")
    with pytest.raises(UnknownJob):
        app.jobs.wait("never-enqueued", timeout=1)


def test_waiting_ends_after_the_timeout(app: Trilho, divide: Divide) -> None:
    result = divide.delay(1, 2)
    began = time.monotonic()
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=0.2)
    with pytest.raises(TimeoutError):
        app.jobs.wait(result.id, timeout=0.2)
    assert 0.4 <= time.monotonic() - began < 5


@pytest.fixture(params=["listen", "poll"])
def waiting_app(request: pytest.FixtureRequest, trilho: Harness) -> Iterator[Trilho]:
    """An application whose waiters are woken by LISTEN, or look by themselves only."""
    app = trilho.app
    if request.param == "poll":
        app.settings = app.settings.model_copy(update={"listen_url": "off"})
        app.database.settings = app.settings
    return app


def test_waiting_ends_soon_after_the_job(waiting_app: Trilho, trilho: Harness) -> None:
    ended: list[float] = []

    @waiting_app.task
    def work() -> str:
        return "done"

    result = work.delay()

    def wait() -> None:
        assert result.get(timeout=30) == "done"
        ended.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    listener = waiting_app.waiter.listener
    if waiting_app.settings.listen_url != "off":
        eventually(listener.connected.is_set)
    trilho.run_until_idle()
    finished = time.monotonic()
    waiter.join()
    assert ended[0] - finished < 1.5


def test_waiting_does_not_poll_hard_while_it_listens(
    app: Trilho, divide: Divide, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = divide.delay(1, 2)
    looks: list[Any] = []
    run = app.database.run
    monkeypatch.setattr(app.database, "run", lambda *args, **kwargs: (looks.append(args), run(*args, **kwargs))[1])
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=3)
    assert len(looks) < 15


def test_only_awaited_jobs_are_announced(app: Trilho, divide: Divide, trilho: Harness, connection: Any) -> None:
    connection.execute("LISTEN trilho_done")
    silent, awaited = divide.delay(1, 1), divide.delay(2, 1)
    with pytest.raises(celery.exceptions.TimeoutError):
        awaited.get(timeout=0)
    trilho.run_until_idle()
    assert [notice.payload for notice in connection.notifies(timeout=1)] == [awaited.id]
    assert silent.get(timeout=1) == 1


@pytest.mark.parametrize("end", ["failure", "cancel", "expiry", "crash"])
def test_every_end_is_announced(app: Trilho, divide: Divide, trilho: Harness, connection: Any, end: str) -> None:
    connection.execute("LISTEN trilho_done")
    result = divide.apply_async((1, 0), expires=60)
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=0)
    if end == "cancel":
        app.jobs.cancel(result.id)
    elif end == "crash":
        connection.execute("UPDATE trilho.jobs SET crash_count = 99")
        crash(app, connection, result.id)
    else:
        trilho.advance(hours=2 if end == "expiry" else 0)
        trilho.run_until_idle()
    assert [notice.payload for notice in connection.notifies(timeout=1)] == [result.id]
    assert result.ready()


def crash(app: Trilho, connection: Any, job_id: str) -> None:
    """Let the process of a job be gone."""
    from uuid import uuid4

    from trilho.jobs import aftermath, store
    from trilho.jobs.outcome import Death

    token = uuid4()
    store.claim(connection, [job_id], store.Claimant(token, uuid4(), "gone"))
    verdict = aftermath.crash(Death("killed"), 3, lambda job: True)
    aftermath.settle_claim(app, connection, [job_id], token, verdict)


def test_ends_that_no_body_raised_have_an_exception_too(
    app: Trilho, divide: Divide, trilho: Harness, connection: Any
) -> None:
    cancelled, expired, lost = divide.delay(1, 1), divide.apply_async((2, 1), expires=60), divide.delay(3, 1)
    app.jobs.cancel(cancelled.id)
    connection.execute("UPDATE trilho.jobs SET crash_count = 3 WHERE id = %s", (lost.id,))
    crash(app, connection, lost.id)
    trilho.advance(hours=1)
    trilho.run_until_idle()
    with pytest.raises(celery.exceptions.TaskRevokedError, match="cancelled"):
        cancelled.get(timeout=1)
    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        expired.get(timeout=1)
    with pytest.raises(WorkerLostError, match="killed"):
        lost.get(timeout=1)


def test_waiting_inside_a_task_is_refused_as_in_celery(app: Trilho, divide: Divide, trilho: Harness) -> None:
    @app.task
    def waits(job_id: str) -> None:
        app.AsyncResult(job_id).get(timeout=1)

    result = waits.delay(divide.delay(1, 2).id)
    trilho.run_until_idle()
    with pytest.raises(RuntimeError, match=r"Never call result\.get"):
        result.get(timeout=1)


def test_group_result_gathers_and_counts(divide: Divide, trilho: Harness) -> None:
    result = group(divide.s(6, number) for number in (1, 2, 3)).apply_async()
    assert (result.completed_count(), result.ready(), result.waiting()) == (0, False, True)
    trilho.run_until_idle()
    assert result.get(timeout=5) == [6, 3, 2]
    assert (result.completed_count(), result.successful()) == (3, True)
    assert result.join(timeout=5) == result.join_native(timeout=5) == [6, 3, 2]


def test_group_result_raises_the_failure_of_a_member(divide: Divide, trilho: Harness) -> None:
    result = group([divide.s(6, 1), divide.s(6, 0)]).apply_async()
    trilho.run_until_idle()
    with pytest.raises(ZeroDivisionError):
        result.get(timeout=5)
    assert result.failed()


def test_group_result_is_saved_and_restored(app: Trilho, divide: Divide, trilho: Harness) -> None:
    result = group([divide.s(6, 1), divide.s(6, 2)]).apply_async()
    result.save()
    restored = GroupResult.restore(result.id, app=app)
    trilho.run_until_idle()
    assert restored.get(timeout=5) == [6, 3]
    restored.delete()
    assert GroupResult.restore(result.id, app=app) is None


def test_forgotten_result_is_unknown_but_never_while_it_runs(divide: Divide, trilho: Harness) -> None:
    result = divide.delay(1, 2)
    result.forget()
    assert result.exists()
    trilho.run_until_idle()
    result.forget()
    assert not result.exists()


def test_reports_name_the_backend(app: Trilho, query: Query) -> None:
    assert app.backend.as_uri() == "trilho://postgresql"
    assert app.conf.result_backend == "trilho.jobs.backend:PostgresBackend"


def test_every_job_of_a_list_is_handed_over_as_it_ends(app: Trilho, divide: Divide, trilho: Harness) -> None:
    ids = [divide.delay(6, number).id for number in (1, 2)]
    trilho.run_until_idle()
    assert {job_id: meta["result"] for job_id, meta in app.backend.get_many(ids, timeout=5)} == {ids[0]: 6, ids[1]: 3}
