"""`async def` bodies, run by the code that a worker runs."""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject
from pydantic import BaseModel
from sqlalchemy import text

from tests.jobs.shop import Query, Shop
from trilho import AsyncTx, Interrupted, Task, TransactionError, Trilho, Tx
from trilho.jobs.attempt import entered
from trilho.jobs.body import Body
from trilho.jobs.coroutines import Coroutines
from trilho.testing import Harness

Bound = Task[..., Any]


class Item(BaseModel):
    name: str


def ran(app: Trilho, trilho: Harness, task: Task[..., Any], *args: Any) -> Any:
    """The job of one call, after it ran."""
    result = task.delay(*args)
    trilho.run_until_idle()
    return app.jobs.get(result.id)


# ---- results and failures


def test_result_is_what_awaiting_gives(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    job = ran(app, trilho, work, 1)
    assert (job.state, job.result) == ("SUCCESS", 2)


def test_exception_of_a_coroutine_is_the_failure(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("deep down")

    job = ran(app, trilho, work)
    assert (job.state, job.error) == ("FAILURE", "ValueError: deep down")
    assert 'raise ValueError("deep down")' in job.traceback


async def _inner(number: int = 1) -> int:
    return number


async def _many() -> AsyncIterator[int]:
    yield 1


def _future() -> Any:
    loop = asyncio.new_event_loop()
    loop.close()
    return asyncio.Future(loop=loop)


@pytest.mark.parametrize("returned", [_inner, _many, _future])
def test_what_nobody_awaited_is_a_failure_and_no_success(
    app: Trilho, trilho: Harness, returned: Callable[[], Any]
) -> None:
    @app.task
    def work() -> Any:
        return returned()

    job = ran(app, trilho, work)
    assert job.state == "FAILURE"
    assert job.error.startswith("TypeError: ")
    assert "nobody awaited: make the task `async def`, or await it" in job.error


def test_coroutine_out_of_a_coroutine_is_a_failure_too(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def work() -> Any:
        return _inner()

    assert "nobody awaited" in ran(app, trilho, work).error


def test_decorator_that_hides_a_coroutine_is_told(app: Trilho, trilho: Harness) -> None:
    @app.task
    @functools.wraps(_inner)
    def work(number: int) -> Any:
        return _inner(number)

    assert "nobody awaited" in ran(app, trilho, work, 1).error


def test_cancellation_from_within_is_a_failure(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def work() -> None:
        raise asyncio.CancelledError

    job = ran(app, trilho, work)
    assert (job.state, "CancelledError left the body" in job.error) == ("FAILURE", True)


def test_retries_ignore_and_reject_are_celerys(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True, max_retries=3)
    async def again(self: Bound) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @app.task(autoretry_for=(OSError,), max_retries=3, retry_jitter=False, retry_kwargs={"countdown": 0})
    async def by_itself(seen: list[int]) -> str:
        await asyncio.sleep(0)
        if len(tries) < 2:
            tries.append(1)
            raise OSError("busy")
        return "done"

    @app.task
    async def ignoring() -> None:
        raise Ignore

    @app.task
    async def rejecting() -> None:
        raise Reject("no", requeue=False)

    tries: list[int] = []
    assert ran(app, trilho, again).result == 2
    job = ran(app, trilho, by_itself, [])
    assert (job.result, job.retries) == ("done", 2)
    assert ran(app, trilho, ignoring).state == "SUCCESS"
    assert ran(app, trilho, rejecting).state == "FAILURE"


def test_class_with_async_run_is_a_task(app: Trilho, trilho: Harness) -> None:
    class Work(Task[..., Any]):
        name = "class-based"
        autoretry_for = (OSError,)
        retry_kwargs = {"countdown": 0, "max_retries": 1}  # noqa: RUF012

        async def run(self, number: int) -> str:
            await asyncio.sleep(0)
            if self.request.retries == 0:
                raise OSError
            return f"{self.name} {number}"

    class Returns(Task[..., Any]):
        name = "class-based-sync"

        def run(self) -> Any:
            return _inner()

    job = ran(app, trilho, app.register_task(Work), 5)
    assert (job.result, job.retries) == ("class-based 5", 1)
    assert "nobody awaited" in ran(app, trilho, app.register_task(Returns)).error


# ---- what surrounds the body


def test_loop_is_kept_between_bodies(app: Trilho, trilho: Harness) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @app.task
    async def work() -> None:
        loops.append(asyncio.get_running_loop())

    for _ in range(3):
        work.delay()
    trilho.run_until_idle()
    assert len({id(loop) for loop in loops}) == 1
    assert len(loops) == 3


def test_arguments_self_and_request_reach_the_coroutine(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    async def work(self: Bound, item: Item) -> list[Any]:
        await asyncio.sleep(0)
        return [item.name, self.request.id, self.name]

    result = work.delay(Item(name="pen"))
    trilho.run_until_idle()
    assert result.get(timeout=1) == ["pen", result.id, work.name]


def test_wrong_arguments_are_refused_at_the_call(app: Trilho) -> None:
    @app.task
    async def work(number: int) -> None: ...

    with pytest.raises(TypeError):
        work.delay()  # type: ignore[call-arg]


def test_progress_is_reported(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def work() -> None:
        app.progress(1, 2)
        await asyncio.to_thread(app.progress, 2, 2)

    assert ran(app, trilho, work).progress["current"] == 2


def test_jobs_of_a_body_know_their_parent(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def child() -> None: ...

    @app.task
    async def work() -> list[str]:
        return [(await child.adelay()).id, child.delay().id, (await child.aapply_async()).id]

    result = work.delay()
    trilho.run_until_idle()
    children = [app.jobs.get(job_id) for job_id in result.get(timeout=1)]
    assert {(job.parent_id, job.root_id, job.state) for job in children} == {(result.id, result.id, "SUCCESS")}


def test_links_of_a_chain_may_be_coroutines(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    result = (add.s(1, 2) | add.s(4) | add.s(8)).apply_async()
    trilho.run_until_idle()
    assert result.get(timeout=1) == 15


# ---- transactions


def test_transactional_coroutine_commits_with_its_job(app: Trilho, trilho: Harness, query: Query) -> None:
    query("CREATE TABLE effects (name text)")

    @app.task
    def after(name: str) -> None: ...

    @app.task(transactional=True)
    async def work(name: str, fails: bool, *, tx: Tx) -> str:
        await asyncio.sleep(0)
        tx.session.execute(text("INSERT INTO effects VALUES (:name)"), {"name": name})
        await after.adelay(name)
        await asyncio.sleep(0)
        if fails:
            raise ValueError
        return name

    assert ran(app, trilho, work, "a", False).result == "a"
    assert ran(app, trilho, work, "b", True).state == "FAILURE"
    assert query("SELECT name FROM effects") == [("a",)]
    trilho.assert_enqueued(after, name="a")
    assert query(
        "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM effects UNION ALL"
        " SELECT xmin FROM trilho.jobs WHERE task LIKE '%%work' AND state = 'SUCCESS') x"
    ) == [(1,)]


def test_transaction_belongs_to_the_body_and_to_no_other_task(app: Trilho, trilho: Harness) -> None:
    @app.task(transactional=True)
    async def work(*, tx: Tx) -> int:
        async def other() -> None:
            tx.session.execute(text("SELECT 1"))

        refused = 0
        for attempt in (asyncio.create_task(other()), asyncio.to_thread(lambda: tx.session)):
            try:
                await attempt
            except TransactionError:
                refused += 1
        tx.session.execute(text("SELECT 1"))
        return refused

    assert ran(app, trilho, work).result == 2


def test_async_tx_is_refused_where_the_task_is_defined(app: Trilho) -> None:
    async def work(*, tx: AsyncTx) -> None: ...

    with pytest.raises(TypeError, match=r"hands in a `Tx`"):
        app.task(transactional=True)(work).delay()


def test_async_transaction_in_a_body_uses_connections_that_are_kept(app: Trilho, trilho: Harness, query: Query) -> None:
    query("CREATE TABLE effects (name text)")

    @app.task
    async def after() -> None: ...

    @app.task
    async def work(name: str) -> int:
        async with app.atransaction() as tx:
            await tx.session.execute(text("INSERT INTO effects VALUES (:name)"), {"name": name})
            after.delay()
            pid = await tx.session.scalar(text("SELECT pg_backend_pid()"))
        return int(pid or 0)

    pids = {ran(app, trilho, work, name).result for name in "abc"}
    assert len(pids) == 1
    assert query("SELECT count(*) FROM effects") == [(3,)]


def test_callers_transaction_reaches_a_coroutine_that_is_called_directly(app: Trilho, query: Query) -> None:
    query("CREATE TABLE effects (name text)")

    @app.task
    async def after() -> None: ...

    @app.task
    async def work() -> str:
        with app.transaction() as tx:
            tx.session.execute(text("INSERT INTO effects VALUES ('a')"))
        return str(after.delay().id)

    with app.transaction():
        job_id = work()
        assert query("SELECT name FROM effects") == []
    assert query("SELECT name FROM effects") == [("a",)]
    assert app.jobs.get(str(job_id)).state == "PENDING"


# ---- called without a worker


def test_direct_call_gives_the_result(app: Trilho) -> None:
    @app.task
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    assert work(3) == 3


def test_direct_call_in_a_running_loop_gives_the_coroutine(app: Trilho) -> None:
    @app.task
    async def work(number: int) -> int:
        return number

    async def main() -> Any:
        called: Any = work(3)
        return await called

    assert asyncio.run(main()) == 3


def test_body_may_await_another_task(app: Trilho, trilho: Harness) -> None:
    @app.task
    async def inner(number: int) -> int:
        return number

    @app.task
    async def work() -> Any:
        called: Any = inner(4)
        return await called

    assert ran(app, trilho, work).result == 4


def test_jobs_run_in_a_test_that_is_a_coroutine_itself(app: Trilho, trilho: Harness) -> None:
    threads: list[int] = []

    @app.task(bind=True, transactional=True)
    async def work(self: Bound, *, tx: Tx) -> str:
        threads.append(threading.get_ident())
        tx.session.execute(text("SELECT 1"))
        return str(self.request.id)

    async def main() -> None:
        result = work.delay()
        trilho.run_until_idle()
        assert result.get(timeout=1) == result.id

    asyncio.run(main())
    assert threads != [threading.get_ident()]


def test_eager_call_gives_the_result(app: Trilho) -> None:
    @app.task
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    app.conf.task_always_eager = True
    assert work.delay(3).get() == 3

    async def main() -> int:
        return work.delay(4).get()

    assert asyncio.run(main()) == 4


# ---- what must end


def test_tasks_left_running_are_ended_and_told(app: Trilho, trilho: Harness, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def stray() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("ended")

    @app.task
    async def work() -> str:
        seen.append(asyncio.create_task(stray(), name="stray").get_name())
        await asyncio.sleep(0)
        return "done"

    with caplog.at_level(logging.WARNING, "trilho.coroutines"):
        assert ran(app, trilho, work).state == "SUCCESS"
    assert seen == ["stray", "ended"]
    assert "tasks.left_running" in caplog.text
    assert "stray" in caplog.text


def interrupted(body: Body, coroutines: Coroutines, work: Coroutine[Any, Any, Any], error: type[BaseException]) -> Any:
    """Run a coroutine as a body that another thread interrupts."""
    timer = threading.Timer(0.1, body.interrupt, (error,))
    timer.start()
    try:
        with body.entered(), entered(SimpleNamespace(body=body)):  # type: ignore[arg-type]
            return coroutines.run(work)
    finally:
        timer.join()


@pytest.fixture
def coroutines(app: Shop) -> Coroutines:
    return app.coroutines


async def _sleep() -> None:
    await asyncio.sleep(30)


async def _gathered() -> None:
    await asyncio.gather(_sleep(), _sleep())


async def _grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_sleep())
        group.create_task(_sleep())


async def _timed() -> None:
    async with asyncio.timeout(20):
        await _sleep()


WAITS = [_sleep, _gathered, _grouped, _timed]


@pytest.mark.parametrize("waits", WAITS)
def test_soft_limit_is_raised_at_the_await(coroutines: Coroutines, waits: Any) -> None:
    cleaned: list[str] = []

    async def work() -> str:
        try:
            await waits()
        except SoftTimeLimitExceeded:
            cleaned.append("except")
        finally:
            await asyncio.sleep(0.01)  # cleaning up may await
            cleaned.append("finally")
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        assert len(asyncio.all_tasks()) == 1
        return "cleaned up"

    assert interrupted(Body(), coroutines, work(), SoftTimeLimitExceeded) == "cleaned up"
    assert cleaned == ["except", "finally"]


def test_soft_limit_that_nobody_catches_is_celerys_own(coroutines: Coroutines) -> None:
    with pytest.raises(SoftTimeLimitExceeded) as raised:
        interrupted(Body(), coroutines, _sleep(), SoftTimeLimitExceeded)
    assert raised.type is SoftTimeLimitExceeded


@pytest.mark.parametrize("waits", WAITS)
def test_cancelled_body_gets_a_cancellation_and_the_caller_is_told(coroutines: Coroutines, waits: Any) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await waits()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(Interrupted):
        interrupted(Body(), coroutines, work(), Interrupted)
    assert seen == ["cancelled"]


def test_loop_is_whole_after_an_interruption(coroutines: Coroutines) -> None:
    with pytest.raises(Interrupted):
        interrupted(Body(), coroutines, _sleep(), Interrupted)

    async def work() -> str:
        await asyncio.sleep(0.3)  # nothing of what was asked before comes late
        return "fine"

    assert coroutines.run(work()) == "fine"


# ---- bodies that are no coroutines


def spin(seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


def test_body_is_interrupted_at_its_next_bytecode() -> None:
    body, began = Body(), time.monotonic()
    timer = threading.Timer(0.1, body.interrupt, (Interrupted,))
    timer.start()
    with pytest.raises(Interrupted), body.entered():
        spin()
    timer.join()
    assert time.monotonic() - began < 5


def test_nothing_is_raised_once_the_body_is_left() -> None:
    """However close the two come."""
    caught = 0
    for _ in range(300):
        body, ready = Body(), threading.Event()

        def ask(body: Body = body, ready: threading.Event = ready) -> None:
            ready.wait()
            body.interrupt(Interrupted)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            with body.entered():
                ready.set()
        except Interrupted:
            caught += 1
        thread.join()
        spin(0.0)
        assert not body.interrupt(Interrupted)
    assert caught <= 300


def test_calls_between_tasks_leave_the_body_of_the_attempt_alone() -> None:
    body = Body()
    with body.entered():
        with body.entered():
            pass
        timer = threading.Timer(0.1, body.interrupt, (SoftTimeLimitExceeded,))
        timer.start()
        with pytest.raises(SoftTimeLimitExceeded):
            spin()
        timer.join()
