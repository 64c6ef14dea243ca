"""What people do to runs: cancel, retry, skip; what is STUCK, and why."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.sagas.conftest import QUICK, Shop, do, refuse, undo
from trilho import DuplicateSaga, PermanentError, Saga, SagaFilter, SagaHandle, SagaStateError, SagaStuck, UnknownSaga
from trilho.sagas import store

OF_WORK = "WHERE task = 'work'"
WAKE = store.SQL["wake"]


def test_cancel_undoes_what_was_done(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.step(shop.app.tasks["work"], "b", undo=shop.app.tasks["unwork"])
        await saga.wait_signal("never")

    handle = waiting.start()
    assert shop.settle(handle) == "WAITING"
    handle.cancel()
    assert shop.settle(handle) == "COMPENSATED"
    assert handle.run().verdict == "cancelled"
    assert shop.effects() == ["a", "b", "undo b b done", "undo a a done"]
    assert [step.state for step in handle.history()] == ["DONE", "DONE", "CANCELLED", "DONE", "DONE"]
    with pytest.raises(SagaStateError):
        handle.cancel()


def test_cancel_ends_a_task_that_waits_before_anything_is_undone(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.step(shop.app.tasks["work"], "never", undo=shop.app.tasks["unwork"])

    handle = waiting.start()
    [(job, task)] = shop.harness._woken_or_due()
    shop.harness._run(job, shop.app.tasks[task])
    handle.cancel()
    for job, task in shop.harness._due():
        if task != "work":
            shop.harness._run(job, shop.app.tasks[task])
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["a", "undo a a done"]  # the task never began: there is nothing of it to undo


def test_cancel_that_comes_before_the_end_wins(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)

    handle = short.start()

    def cancel(point: str) -> None:
        if point == "saga.step_after_commit":
            handle.cancel()

    with shop.at_points(cancel):
        assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["a", "undo a a done"]


def test_cancel_is_heeded_between_two_functions(shop: Shop) -> None:
    @shop.app.saga
    async def long(saga: Saga) -> None:
        for number in range(10):
            await saga.step(do, str(number), undo=undo)

    handle = long.start()

    def cancel(point: str) -> None:
        if point == "saga.step_before" and shop.effects() == ["0"]:
            handle.cancel()

    with shop.at_points(cancel):
        assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["0", "1", "undo 1 1 done", "undo 0 0 done"]


def test_cancel_is_heeded_between_two_quick_functions_that_write_nothing(shop: Shop) -> None:
    ran: list[int] = []

    @shop.app.saga
    async def long(saga: Saga) -> None:
        for number in range(10):
            await saga.step(ran.append, number)

    handle = long.start()

    def cancel(point: str) -> None:
        if point == "saga.step_before" and len(ran) == 1:
            handle.cancel()

    with shop.at_points(cancel):
        assert shop.settle(handle) == "COMPENSATED"
    assert ran == [0, 1]


def test_undo_that_fails_is_tried_again_then_the_run_is_stuck_and_a_person_lets_it_go_on(shop: Shop) -> None:
    mended: list[bool] = []
    tries: list[int] = []

    def stubborn(what: str) -> None:
        tries.append(1)
        if not mended:
            raise OSError("the bank is closed")

    @shop.app.saga(retry=QUICK)
    async def failing(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.step(do, "b", undo=stubborn)
        await saga.step(refuse, "no")

    handle = failing.start()
    assert shop.settle(handle) == "STUCK"
    assert len(tries) == 3
    assert "the bank is closed" in str(handle.run().stuck)
    assert shop.app.sagas.list(SagaFilter(state="STUCK")).items[0].id == handle.id
    with pytest.raises(SagaStuck, match="bank"):
        handle.get(1)
    handle.retry()
    assert shop.settle(handle) == "STUCK"
    mended.append(True)
    handle.retry()
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["a", "b", "undo a a done"]
    with pytest.raises(SagaStateError):
        handle.retry()


def test_undo_that_cannot_be_done_is_settled_by_hand(shop: Shop) -> None:
    @shop.app.saga(retry=QUICK)
    async def failing(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.step(do, "b", undo=shop.app.tasks["broken"])
        await saga.step(refuse, "no")

    handle = failing.start()
    assert shop.settle(handle) == "STUCK"
    with pytest.raises(SagaStateError, match="STUCK, and step 1 has ended") as refused:
        handle.skip("1")
    assert refused.value.state == "STUCK"
    with pytest.raises(SagaStateError, match="STUCK while it is undone: the undo broken of step 2") as refused:
        handle.cancel()
    assert refused.value.state == "STUCK"
    with pytest.raises(ValueError, match="step must be a text"):
        handle.skip("2:undo\0")
    with pytest.raises(TypeError, match="the result of step 2:undo cannot be stored"):
        handle.skip("2:undo", object())
    handle.skip("2:undo")
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects()[-1] == "undo a a done"


def begun(shop: Shop, definition: Any) -> SagaHandle[Any]:
    """A run whose first stretch has ended, and no other job has begun."""
    handle: SagaHandle[Any] = definition.start()
    [(job, task)] = shop.harness._woken_or_due()
    shop.harness._run(job, shop.app.tasks[task])
    return handle


def test_task_that_waits_for_a_worker_is_settled_by_hand_and_does_not_run(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> str:
        return await saga.step(shop.app.tasks["work"], "never")

    handle = begun(shop, waiting)
    handle.skip("1", "by hand")
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == "by hand"
    assert shop.effects() == []
    assert shop.query(f"SELECT state, error FROM trilho.jobs {OF_WORK}") == [("REVOKED", "skipped by hand")]
    [step] = handle.history()
    assert (step.state, step.result) == ("SKIPPED", "by hand")


def test_step_that_cannot_be_settled_by_hand_says_why_and_its_job_goes_on(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> None:
        await saga.gather(saga.step(do, "a"), saga.step(shop.app.tasks["work"], "b"))

    handle = begun(shop, waiting)
    with pytest.raises(SagaStateError, match=r"WAITING, and step 1\.3\.1 has not begun: history"):
        handle.skip("1.3.1")
    with pytest.raises(SagaStateError, match=r"and step 1\.1\.1 has ended: it is DONE"):
        handle.skip("1.1.1")
    shop.query(f"UPDATE trilho.jobs SET state = 'STARTED', claim_token = '{uuid4()}', worker = '{uuid4()}' {OF_WORK}")
    with pytest.raises(SagaStateError, match=r"and step 1\.2\.1 runs just now: wait for the end of job"):
        handle.skip("1.2.1")
    shop.query(f"UPDATE trilho.jobs SET state = 'PENDING', claim_token = NULL, worker = NULL {OF_WORK}")
    shop.app.database.run(lambda connection: connection.execute(WAKE, {"ids": [handle.id]}))
    with pytest.raises(SagaStateError, match="RUNNING, and a worker goes on with it just now"):
        handle.skip("1.2.1")
    assert shop.query(f"SELECT state FROM trilho.jobs {OF_WORK}") == [("PENDING",)]
    assert shop.settle(handle) == "COMPLETED"
    assert shop.effects() == ["a", "b"]


@pytest.mark.parametrize("impossible", ["", "a\0", "\ud800", "x" * 201, 5, None])
def test_what_no_run_can_be_called_is_unknown(shop: Shop, impossible: Any) -> None:
    with pytest.raises(UnknownSaga):
        shop.app.sagas.get(impossible)
    with pytest.raises(ValueError, match="the name of a saga must be a text"):
        SagaFilter(name="a\0")


def test_wait_is_settled_by_hand_with_a_result(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> int:
        return int(await saga.wait_signal("never"))

    handle = waiting.start()
    shop.settle(handle)
    handle.skip(1, 42)
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == 42


def test_same_id_with_the_same_arguments_is_the_same_run(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga, n: int) -> None:
        await saga.step(do, str(n))

    for _ in range(2):
        assert shop.settle(short.start(1, id="one")) == "COMPLETED"
    assert shop.effects() == ["1"]
    with pytest.raises(DuplicateSaga, match="one"):
        short.start(2, id="one")
    with shop.app.transaction(), suppress(ZeroDivisionError), shop.app.transaction():
        short.start(3, id="three")
        raise ZeroDivisionError
    assert [run.id for run in shop.app.sagas.list().items] == ["one"]


def test_run_begins_with_the_commit_of_a_session_or_connection_of_the_projects_own(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga, n: int) -> int:
        return int(await saga.wait_signal("go")) + n

    with Session(shop.app.database.engine) as session:
        session.execute(text("INSERT INTO effects (what) VALUES ('joined')"))
        handle = shop.app.join(session).start(short, 1, id="session")
        session.commit()
    with shop.app.database.connection() as connection, connection.transaction():
        shop.app.join(connection).start(short, 2, id="connection")

    async def begin() -> None:
        async with shop.app.atransaction():
            await short.astart(3, id="async")
            await shop.app.sagas.get("session").asignal("go", 40)
        await (await shop.app.sagas.aget("async")).acancel()
        await shop.app.database.dispose()

    asyncio.run(begin())
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == 41
    states = {run.id: run.state for run in shop.app.sagas.list().items}
    assert states == {"session": "COMPLETED", "connection": "WAITING", "async": "COMPENSATED"}


def test_job_of_a_step_is_not_run_again_behind_the_back_of_the_saga(shop: Shop) -> None:
    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.step(shop.app.tasks["broken"], "x")

    handle = failing.start()
    assert shop.settle(handle) == "COMPENSATED"
    [step] = handle.history()
    assert step.job_id is not None
    with pytest.raises(Exception, match="cannot retry"):
        shop.app.jobs.retry(step.job_id)


def test_pages_of_runs_are_newest_first(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga) -> None: ...

    for number in range(5):
        short.start(id=str(number))
    page = shop.app.sagas.list(SagaFilter(limit=3))
    rest = shop.app.sagas.list(SagaFilter(limit=3, cursor=page.next_cursor))
    assert [run.id for run in [*page.items, *rest.items]] == ["4", "3", "2", "1", "0"]
    assert rest.next_cursor is None
    for limit in (0, -1, 1001):
        with pytest.raises(ValueError, match="1 to 1000 runs"):
            SagaFilter(limit=limit)


def test_start_whose_answer_got_lost_may_be_repeated(shop: Shop) -> None:
    @shop.app.saga
    async def short(saga: Saga) -> None: ...

    row, sink = short.new((), "once"), shop.app.sagas.runs
    for _ in range(2):
        assert shop.app.database.run(
            lambda connection: connection.execute(sink.statement.encode(), sink.parameters([row])).fetchall()
        ) == [("once",)]
    assert shop.query("SELECT count(*) FROM trilho.jobs") == [(1,)]


def broken_undo(what: str) -> None:
    raise PermanentError("no")


def test_undo_that_the_code_has_another_name_for_makes_the_run_stuck(shop: Shop) -> None:
    undos = [broken_undo]

    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.step(do, "a", undo=undos[0])
        await saga.step(refuse, "x")

    handle = failing.start()
    assert shop.settle(handle) == "STUCK"
    undos[0] = undo
    handle.retry()
    assert shop.settle(handle) == "STUCK"
    assert "recorded is undo 'broken_undo', the code has undo 'undo' now" in str(handle.run().stuck)
    handle.skip("1:undo")
    assert shop.settle(handle) == "COMPENSATED"


def test_undo_that_cannot_even_begin_is_settled_by_a_person(shop: Shop) -> None:
    @shop.app.task(shared=False, name="lies")
    def lies() -> int:
        return "text"  # type: ignore[return-value]

    def needs_an_int(result: int | None) -> None: ...

    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.step(lies, undo=needs_an_int)

    handle = failing.start()
    assert shop.settle(handle) == "STUCK"
    assert "does not fit its annotation" in str(handle.history()[-1].error)
    handle.retry()
    assert shop.settle(handle) == "STUCK"
    handle.skip("1:undo")
    assert shop.settle(handle) == "COMPENSATED"


class Unprintable(PermanentError):
    def __str__(self) -> str:
        return "a\x00b\ud800"


def test_reason_that_postgresql_refuses_is_written_out(shop: Shop) -> None:
    def refuse_to_undo(what: str) -> None:
        raise Unprintable

    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.step(do, "a", undo=refuse_to_undo)
        await saga.step(refuse, "x")

    handle = failing.start()
    assert shop.settle(handle) == "STUCK"
    assert r"a\x00b\ud800" in str(handle.run().stuck)


def test_signal_may_follow_its_start_in_one_transaction(shop: Shop) -> None:
    @shop.app.saga
    async def hears(saga: Saga) -> str:
        return str(await saga.wait_signal("name"))

    with shop.app.transaction():
        handle = hears.start()
        handle.signal("name", "Ana")
    shop.settle(handle)
    assert handle.get(timeout=1) == "Ana"


def test_cancel_behind_an_own_open_signal_says_so(shop: Shop) -> None:
    @shop.app.saga
    async def hears(saga: Saga) -> str:
        return str(await saga.wait_signal("name"))

    handle = hears.start()
    with shop.app.transaction():
        handle.signal("name", "Ana")
        with pytest.raises(SagaStateError, match="locked"):
            handle.cancel()
