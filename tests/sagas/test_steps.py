"""Steps: functions and tasks, results, errors, retries, and what replay gives back."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from tests.sagas.conftest import QUICK, Shop, do, refuse, undo, write
from trilho import IdempotencyKey, PermanentError, Retry, Saga, SagaFailed, SagaTimeout, Tx


class Order(BaseModel):
    number: int
    total: Decimal


def test_function_runs_once_and_its_effect_is_one_commit_with_the_record(shop: Shop) -> None:
    plays = []

    @shop.app.saga
    async def two(saga: Saga, what: str) -> str:
        plays.append(what)
        await saga.step(do, f"{what} 1")
        await saga.step(shop.app.tasks["work"], f"{what} 2")
        return await saga.step(do, f"{what} 3")

    handle = two.start("a", id="one")
    assert handle.state == "RUNNING"
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == "a 3 done"
    assert shop.effects() == ["a 1", "a 2", "a 3"]
    assert len(plays) == 2
    assert [(s.number, s.name, s.state, s.result) for s in handle.history()] == [
        ("1", "do", "DONE", "a 1 done"),
        ("2", "work", "DONE", "a 2 done"),
        ("3", "do", "DONE", "a 3 done"),
    ]


def test_results_pass_through_json_and_the_annotation_on_the_first_run_too(shop: Shop) -> None:
    seen: list[Any] = []

    def order() -> Order:
        return Order(number=1, total=Decimal("1.50"))

    def loose() -> Any:
        return {1: (2, 3)}

    @shop.app.saga
    async def typed(saga: Saga, given: Order) -> Order:
        seen.append(type(given))
        seen.append(await saga.step(loose))
        made = await saga.step(order)
        seen.append(type(made))
        await saga.step(shop.app.tasks["work"], "x")
        return made

    handle = typed.start(Order(number=7, total=Decimal(1)))
    assert shop.settle(handle) == "COMPLETED"
    assert seen[:3] == seen[3:] == [Order, {"1": [2, 3]}, Order]
    assert handle.get(1) == Order(number=1, total=Decimal("1.50"))


def test_async_function_and_its_time_limit(shop: Shop) -> None:
    began: list[float] = []

    async def slow(seconds: float) -> str:
        began.append(seconds)
        await asyncio.sleep(seconds)
        return "slept"

    @shop.app.saga(retry=Retry(attempts=2, delay=0))
    async def sleepy(saga: Saga, seconds: float, patient: bool) -> str:
        retry = None if patient else Retry(give_up_on=(SagaTimeout,))
        return await saga.step(slow, seconds, timeout=0.2, retry=retry)

    quick, late, impatient = sleepy.start(0.0, True), sleepy.start(30.0, True), sleepy.start(40.0, False)
    assert shop.settle(quick) == "COMPLETED"
    assert (late.state, impatient.state) == ("COMPENSATED", "COMPENSATED")
    assert late.run().error == "SagaTimeout: step slow took longer than 0.2 s"
    assert sorted(began) == [0.0, 30.0, 30.0, 40.0]


def test_step_began_when_its_body_did_however_late_it_is_recorded(shop: Shop) -> None:
    async def slow(tx: Tx) -> None:
        await asyncio.sleep(0.1)

    async def outside() -> None:
        await asyncio.sleep(0.1)

    @shop.app.saga
    async def sleepy(saga: Saga) -> None:
        saga.uuid()
        await saga.step(slow, undo=outside)
        saga.now()
        await saga.step(outside)
        await saga.step(refuse, "end")

    handle = sleepy.start()
    assert shop.settle(handle) == "COMPENSATED"
    steps = handle.history()
    assert [step.number for step in steps] == ["1", "2", "3", "4", "5", "2:undo"]
    took = {step.number: (step.ended_at - step.started_at).total_seconds() for step in steps if step.ended_at}
    assert {number for number, seconds in took.items() if seconds >= 0.1} >= {"2", "4", "2:undo"}


def test_step_is_tried_again_and_then_gives_its_own_exception(shop: Shop) -> None:
    calls: list[int] = []

    def flaky(until: int, tx: Tx) -> int:
        calls.append(until)
        write(tx, "rolled back")
        if len(calls) < until:
            raise KeyError("not yet")
        return len(calls)

    @shop.app.saga(retry=QUICK)
    async def trying(saga: Saga, until: int) -> str:
        try:
            return str(await saga.step(flaky, until))
        except KeyError as error:
            return f"gave up: {error} {error.__notes__[0]}"

    assert shop.settle(one := trying.start(3)) == "COMPLETED"
    assert one.get(1) == "3"
    calls.clear()
    assert shop.settle(two := trying.start(9)) == "COMPLETED"
    assert len(calls) == 3
    assert two.get(1).startswith("gave up: 'not yet'")
    assert [step.attempt for step in two.history()] == [3]
    assert shop.effects() == ["rolled back"]


def test_task_that_fails_gets_another_job_after_a_pause(shop: Shop) -> None:
    @shop.app.saga(retry=Retry(attempts=2, delay=30))
    async def trying(saga: Saga) -> str:
        return await saga.step(shop.app.tasks["work"], "x")

    shop.harness.fail(shop.app.tasks["work"], OSError("away"), times=1)
    handle = trying.start()
    assert shop.settle(handle) == "WAITING"
    [step] = handle.history()
    assert (step.state, step.attempt, step.error, step.due_at) == ("RETRY", 1, "OSError: away", handle.run().wake_at)
    assert step.due_at is not None
    assert 25 < (step.due_at - step.started_at).total_seconds() < 60
    shop.harness.advance(seconds=31)
    assert shop.settle(handle) == "COMPLETED"
    assert [(step.state, step.attempt, step.error) for step in handle.history()] == [("DONE", 2, None)]


def test_error_of_the_last_attempt_of_a_task_is_seen_while_the_next_one_waits(shop: Shop) -> None:
    @shop.app.saga(retry=QUICK)
    async def trying(saga: Saga) -> str:
        return await saga.step(shop.app.tasks["work"], "x")

    shop.harness.fail(shop.app.tasks["work"], OSError("away"), times=1)
    handle = trying.start()
    while not (steps := handle.history()) or steps[0].attempt < 2:
        for job, task in shop.harness._woken_or_due():
            shop.harness._run(job, shop.app.tasks[task])
    assert (steps[0].state, steps[0].error) == ("WAITING", "OSError: away")
    assert shop.settle(handle) == "COMPLETED"


def test_permanent_error_is_not_tried_again_and_goes_straight_to_compensation(shop: Shop) -> None:
    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        await saga.step(refuse, "no")

    handle = failing.start()
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["a", "undo a a done"]
    with pytest.raises(SagaFailed, match="no") as failed:
        handle.get(1)
    assert isinstance(failed.value.__cause__, PermanentError)


def test_types_named_in_the_policy_are_not_tried_again(shop: Shop) -> None:
    calls = []

    def failing_step() -> None:
        calls.append(1)
        raise LookupError("gone")

    @shop.app.saga(retry=Retry(attempts=5, delay=0, give_up_on=(LookupError,)))
    async def failing(saga: Saga) -> None:
        await saga.step(failing_step)

    assert shop.settle(failing.start()) == "COMPENSATED"
    assert calls == [1]


def test_exception_that_the_function_catches_does_not_compensate(shop: Shop) -> None:
    @shop.app.saga
    async def careful(saga: Saga) -> str:
        await saga.step(do, "a", undo=undo)
        try:
            await saga.step(refuse, "no")
        except PermanentError as error:
            return await saga.step(do, f"instead of {error}")
        return "never"

    assert shop.settle(careful.start()) == "COMPLETED"
    assert shop.effects() == ["a", "instead of no"]


def test_idempotency_key_is_the_same_at_every_attempt(shop: Shop) -> None:
    keys: list[str] = []

    def keyed(n: int, key: IdempotencyKey) -> None:
        keys.extend((key, shop.app.idempotency_key()))
        if len(keys) < 4:
            raise OSError

    @shop.app.task(shared=False, bind=True, name="bound")
    def bound(self: Any) -> str:
        keys.append(shop.app.idempotency_key())
        return str(self.request.idempotency_key)

    @shop.app.saga(retry=QUICK)
    async def paying(saga: Saga) -> str:
        await saga.step(keyed, 1)
        return await saga.step(bound)

    assert shop.settle(handle := paying.start(id="pay")) == "COMPLETED"
    assert keys == ["pay/1"] * 4 + ["pay/2"]
    assert handle.get(1) == "pay/2"


def test_gather_starts_all_and_raises_the_first_error_when_all_have_ended(shop: Shop) -> None:
    work, broken = shop.app.tasks["work"], shop.app.tasks["broken"]

    @shop.app.saga
    async def parallel(saga: Saga) -> list[str]:
        async def branch(what: str) -> str:
            await saga.step(do, f"{what} first", undo=undo)
            return await saga.step(work, f"{what} then")

        results = await saga.gather(saga.step(work, "a"), branch("b"), branch("c"))
        return list(results)

    @shop.app.saga
    async def failing(saga: Saga) -> None:
        await saga.gather(saga.step(broken, "x"), saga.step(work, "y", undo=shop.app.tasks["unwork"]))

    good = parallel.start()
    assert shop.settle(good) == "COMPLETED"
    assert good.get(1) == ["a done", "b then done", "c then done"]
    assert {s.number for s in good.history()} == {"1.1.1", "1.2.1", "1.2.2", "1.3.1", "1.3.2"}
    bad = failing.start()
    assert shop.settle(bad) == "COMPENSATED"
    assert shop.effects()[-2:] == ["y", "undo y y done"]


def test_undos_run_in_the_reverse_order_of_completion(shop: Shop) -> None:
    work, unwork = shop.app.tasks["work"], shop.app.tasks["unwork"]

    @shop.app.saga
    async def undone(saga: Saga) -> None:
        await saga.step(do, "0", undo=undo)
        await saga.gather(saga.step(work, "1", undo=unwork), saga.step(do, "2", undo=undo))
        await saga.step(work, "3", undo=unwork)
        await saga.step(refuse, "end")

    assert shop.settle(undone.start()) == "COMPENSATED"
    done = [what for what in shop.effects() if not what.startswith("undo")]
    back = [what.split()[1] for what in shop.effects() if what.startswith("undo")]
    assert back == done[::-1]


def test_cancellation_that_the_code_brings_about_itself_is_an_ordinary_failure(shop: Shop) -> None:
    calls: list[int] = []

    async def cancelling(times: int) -> int:
        calls.append(times)
        if len(calls) < times:
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task
        return len(calls)

    def raising() -> None:
        raise asyncio.CancelledError

    @shop.app.saga(retry=QUICK)
    async def trying(saga: Saga, kind: str) -> int:
        await saga.step(do, kind, undo=undo)
        if kind == "function":
            raise asyncio.CancelledError
        if kind == "plain":
            await saga.step(raising)
        return await saga.step(cancelling, 2 if kind == "healed" else 99, timeout=30)

    runs = {kind: trying.start(kind) for kind in ("healed", "failed", "plain", "function")}
    shop.harness.run_until_idle()
    assert {kind: run.state for kind, run in runs.items()} == dict.fromkeys(runs, "COMPENSATED") | {
        "healed": "COMPLETED"
    }
    assert "step cancelling: something that it awaited was cancelled" in str(runs["failed"].run().error)
    assert len([what for what in shop.effects() if what.startswith("undo")]) == 3


def test_function_that_reaches_outside_is_undone_when_it_fails_and_one_that_takes_tx_leaves_nothing(shop: Shop) -> None:
    undone: list[Any] = []

    def charge(amount: int) -> str:
        if amount < 0:
            raise OSError("the line broke: charged, or not?")
        return f"charge of {amount}"

    def refund(amount: int, key: IdempotencyKey, result: str | None) -> None:
        undone.append((amount, result, key))

    def book(amount: int, tx: Tx) -> str:
        raise PermanentError("rolled back")

    @shop.app.saga(retry=Retry(attempts=2, delay=0))
    async def paying(saga: Saga, kind: str) -> None:
        await saga.step(charge, 1, undo=refund)
        if kind == "outside":
            await saga.step(charge, -1, undo=refund)
        await saga.step(book, 2, undo=refund)

    handle = paying.start("outside", id="out")
    assert shop.settle(handle) == "COMPENSATED"
    assert undone == [(-1, None, "out/2"), (1, "charge of 1", "out/1")]
    assert [(step.number, step.state, step.attempt) for step in handle.history()[:2]] == [
        ("1", "DONE", 1),
        ("2", "FAILED", 2),
    ]
    undone.clear()
    assert shop.settle(paying.start("inside", id="in")) == "COMPENSATED"
    assert undone == [(1, "charge of 1", "in/1")]


@pytest.mark.parametrize(("outside", "commits"), [(False, 2), (True, 3)])
def test_step_is_recorded_at_once_or_where_it_left_nothing_before_the_next_body_begins(
    shop: Shop, outside: bool, commits: int
) -> None:
    seen: list[list[tuple[Any, ...]]] = []

    def look() -> None:
        seen.append(shop.query("SELECT path, state FROM trilho.saga_steps ORDER BY path"))

    def look_inside(tx: Tx) -> None:
        look()

    @shop.app.saga
    async def looking(saga: Saga) -> None:
        for _ in range(3):
            await saga.step(look if outside else look_inside)

    handle = looking.start()
    points: list[str] = []
    with shop.at_points(points.append):
        assert shop.settle(handle) == "COMPLETED"
    assert seen == [[], [("1", "DONE")], [("1", "DONE"), ("2", "DONE")]]
    assert [step.state for step in handle.history()] == ["DONE"] * 3
    assert points.count("saga.record_after_commit") == commits


def test_log_says_nothing_twice(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    @shop.app.saga
    async def talking(saga: Saga) -> None:
        saga.log.info("first")
        await saga.step(shop.app.tasks["work"], "x")
        saga.log.info("second")

    assert shop.settle(talking.start()) == "COMPLETED"
    said = [record.getMessage().split()[0] for record in caplog.records if record.name == "trilho.saga"]
    assert said == ["first", "second"]


def test_time_and_ids_are_made_once(shop: Shop) -> None:
    seen = []

    @shop.app.saga
    async def marking(saga: Saga) -> None:
        seen.append((saga.now(), saga.uuid(), saga.uuid()))
        await saga.step(shop.app.tasks["work"], "x")

    assert shop.settle(marking.start()) == "COMPLETED"
    assert seen[0] == seen[1]
    assert seen[0][1] != seen[0][2]
