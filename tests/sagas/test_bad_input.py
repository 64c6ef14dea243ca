"""Bad input is told clearly, and as early as it can be seen."""

import asyncio
import json
import math
import random
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from tests.sagas.conftest import Shop, do
from trilho import ConfigurationError, PayloadTooLarge, Saga, SagaFailed


class Order(BaseModel):
    number: int


class Card(BaseModel):
    number: SecretStr


@pytest.fixture
def order(shop: Shop) -> Any:
    @shop.app.saga
    async def order(saga: Saga, order: Order, note: str = "") -> int:
        return order.number

    return order


def test_arguments_that_do_not_fit_are_refused_at_start(order: Any) -> None:
    with pytest.raises(TypeError, match="argument 'order' of saga order does not fit its annotation: number"):
        order.start({"number": "many"})
    with pytest.raises(TypeError, match="missing a required argument: 'order'"):
        order.start()
    with pytest.raises(TypeError, match="too many positional"):
        order.start(Order(number=1), "", 3)


def test_arguments_that_cannot_be_stored_are_refused_at_start(shop: Shop) -> None:
    @shop.app.saga
    async def anything(saga: Saga, what: Any) -> None: ...

    with pytest.raises(TypeError, match="'what' of saga anything cannot be stored"):
        anything.start(object())
    with pytest.raises(PayloadTooLarge, match="TRILHO_MAX_PAYLOAD"):
        anything.start("x" * 2_000_000)
    with pytest.raises(TypeError, match=r"'what' of saga anything .* nested deeper than 200 levels"):
        anything.start(json.loads("[" * 300 + "]" * 300))
    for bad in ("", "x" * 201, "a\x00", 7):
        with pytest.raises(ValueError, match="id="):
            anything.start(1, id=bad)


def test_functions_that_are_no_sagas_are_refused_at_definition(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="'plain' has to be `async def`"):

        @shop.app.saga
        def plain(saga: Saga) -> None: ...

    with pytest.raises(ConfigurationError, match="needs a first parameter"):

        @shop.app.saga
        async def bare() -> None: ...

    shop.app.saga(name="twice")(no_step)
    with pytest.raises(ConfigurationError, match="there is a saga 'twice' already"):
        shop.app.saga(name="twice")(large)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": -1}, "timeout= must be seconds above 0, or a timedelta, for a hundred years at most, not -1"),
        ({"timeout": float("nan")}, "timeout="),
        ({"retry": 3}, r"retry= must be a Retry\(attempts=..., delay=...\), not 3"),
        ({"retry": 0}, "retry="),
        ({"version": "x"}, "version= must be a whole number from 1, not 'x'"),
        ({"version": True}, "version="),
        ({"events": "payment"}, r"events= must be topics in a tuple or list: .*, not 'payment'"),
        ({"events": 5}, "events="),
        ({"queue": ""}, "queue= must be the name of a queue"),
        ({"name": 7}, "name="),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_definition(shop: Shop, options: dict[str, Any], told: str) -> None:
    async def pay(saga: Saga) -> None: ...

    with pytest.raises(ConfigurationError, match=f"saga '?(pay|7)'?: {told}"):
        shop.app.saga(**options)(pay)
    assert "pay" not in shop.app.sagas.definitions


def test_equal_arguments_are_one_run_however_they_are_written(shop: Shop) -> None:
    @shop.app.saga
    async def paying(saga: Saga, amount: float, order: Order, tags: set[str], card: Card) -> list[Any]:
        return [amount, order.number, sorted(tags), card.number.get_secret_value()]

    kept: Any = [["a"], {"number": "4242"}]
    handle: Any = paying.start(10.0, Order(number=1), *kept, id="pay")
    order: Any = {"number": "1"}
    paying.start(10, order, *kept, id="pay")
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == [10.0, 1, ["a"], "4242"]


def test_saga_is_not_called_but_started(order: Any) -> None:
    with pytest.raises(TypeError, match=r"begun by \.start"):
        order(None, Order(number=1))


def undo_more(what: str, reason: str) -> None: ...


async def bad_undo(saga: Saga) -> Any:
    return await saga.step(do, "x", undo=undo_more)


async def unstorable(saga: Saga) -> Any:
    return await saga.step(lambda: {1, object()})


async def large(saga: Saga) -> Any:
    return await saga.step(lambda: "x" * 2_000_000)


async def unstorable_end(saga: Saga) -> Any:
    await saga.step(do, "x")
    return object()


async def misfit(saga: Saga) -> Any:
    def lies() -> int:
        return "five"  # type: ignore[return-value]

    return await saga.step(lies)


class Opaque: ...


async def unchecked(saga: Saga) -> Any:
    def opaque() -> Opaque:
        return "x"  # type: ignore[return-value]

    return await saga.step(opaque)


async def misfit_end(saga: Saga) -> str:
    await saga.step(do, "x")
    return 5  # type: ignore[return-value]


async def large_end(saga: Saga) -> str:
    return "x" * 2_000_000


async def deep(saga: Saga) -> Any:
    return await saga.step(lambda: json.loads("[" * 300 + "]" * 300))


async def deep_end(saga: Saga) -> Any:
    return json.loads("[" * 300 + "]" * 300)


async def wrong_arguments(saga: Saga) -> Any:
    return await saga.step(do, "x", "y")


async def not_awaited(saga: Saga) -> Any:
    saga.step(do, "x")
    await saga.step(do, "y")
    saga.sleep(5)


async def gather_not_awaited(saga: Saga) -> Any:
    saga.gather(saga.step(do, "x"), saga.step(do, "y"))


async def wait_not_awaited(saga: Saga) -> Any:
    await saga.gather(saga.step(do, "x"), saga.step(do, "y"))
    saga.wait_signal("packed")


async def left_behind(saga: Saga) -> Any:
    later = saga.step(do, "later")
    await saga.step("do", "x")
    await later


async def plain_call(saga: Saga) -> Any:
    await saga.call(no_step)


async def no_step(saga: Saga) -> Any:
    return await saga.step("do", "x")


async def inside_a_step(saga: Saga) -> Any:
    async def step() -> None:
        await saga.step(do, "x")

    return await saga.step(step)


async def in_another_task(saga: Saga) -> Any:
    return await asyncio.gather(saga.step(do, "x"), saga.step(do, "y"))


async def not_named(saga: Saga) -> Any:
    return await saga.wait_event("paid", key=1)


async def no_policy(saga: Saga) -> Any:
    return await saga.step(do, "x", retry=3)  # type: ignore[call-overload]


def no_time(call: str, time: Any) -> Any:
    async def waiting(saga: Saga) -> Any:
        match call:
            case "sleep":
                await saga.sleep(time)
            case "signal":
                await saga.wait_signal("go", timeout=time)
            case "event":
                await saga.wait_event("paid", key=1, timeout=time)
            case "step":
                await saga.step(in_the_background, timeout=time)

    return waiting


async def in_the_background() -> None: ...


async def limited(saga: Saga) -> Any:
    return await saga.step(do, "x", timeout=1)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (bad_undo, "the undo undo_more needs 'reason', which it does not get"),
        (unstorable, "returned what cannot be stored as JSON"),
        (misfit, "PermanentError: the result of lies does not fit its annotation: 1 validation error for int"),
        (unchecked, "the annotation of what opaque returns cannot be checked"),
        (large, "the result of step <lambda>: 2000002 bytes of JSON, above the limit of 1000000"),
        (misfit_end, "the result of bad does not fit its annotation: 1 validation error for str"),
        (large_end, "the result of saga bad: 2000002 bytes"),
        (unstorable_end, "the result of saga bad cannot be stored as JSON"),
        (deep, "returned what cannot be stored as JSON: nested deeper"),
        (deep_end, "the result of saga bad cannot be stored as JSON: nested deeper"),
        (wrong_arguments, "step do: too many positional arguments"),
        (no_step, "a step is a task or a function, not 'do'"),
        (inside_a_step, "a step cannot make calls of the saga"),
        (in_another_task, "use saga.gather"),
        (not_named, "@app.saga(events=('paid',))"),
        (not_awaited, "step do, sleep 5: made by the saga function but never awaited: await it"),
        (gather_not_awaited, "step do, step do, gather: made"),
        (wait_not_awaited, "wait_signal packed: made"),
        (left_behind, "a step is a task or a function"),
        (plain_call, "saga.call takes a saga made by @app.saga, not <function no_step"),
        (no_policy, "TypeError: step do: retry= must be a Retry(attempts=..., delay=...), not 3"),
        (no_time("sleep", "5"), "TypeError: saga.sleep() takes seconds or a timedelta, not '5'"),
        (no_time("sleep", None), "TypeError: saga.sleep() takes seconds or a timedelta, not None"),
        (
            no_time("sleep", math.nan),
            "ValueError: saga.sleep() takes seconds or a timedelta, of a hundred years at most",
        ),
        (no_time("signal", 1e18), "ValueError: wait_signal: timeout= takes seconds"),
        (no_time("event", True), "TypeError: wait_event: timeout= takes seconds"),
        (no_time("step", "5"), "TypeError: step in_the_background: timeout= takes seconds"),
        (limited, "timeout= needs a task or an `async def`"),
    ],
)
def test_mistakes_in_the_function_end_the_run_with_a_clear_error(shop: Shop, function: Any, told: str) -> None:
    handle = shop.app.saga(name="bad")(function).start()
    assert shop.settle(handle) == "COMPENSATED"
    assert told in str(handle.run().error)
    with pytest.raises(SagaFailed):
        handle.get(1)


def test_task_whose_result_cannot_be_stored_is_not_run_again(shop: Shop) -> None:
    runs: list[int] = []

    @shop.app.task(shared=False, name="unstorable")
    def unstorable() -> Any:
        runs.append(1)
        return object()

    @shop.app.saga
    async def calling(saga: Saga) -> None:
        await saga.step(unstorable)

    handle = calling.start()
    assert shop.settle(handle) == "COMPENSATED"
    assert "the result cannot be stored as JSON" in str(handle.run().error)
    assert runs == [1]


def test_result_given_by_hand_has_its_limits(shop: Shop) -> None:
    @shop.app.saga
    async def waiting(saga: Saga) -> Any:
        return await saga.wait_signal("never")

    handle = waiting.start()
    shop.settle(handle)
    with pytest.raises(PayloadTooLarge, match="the result of step 1: 2000002 bytes"):
        handle.skip(1, "x" * 2_000_000)
    with pytest.raises(TypeError):
        handle.skip(1, object())
    assert shop.settle(handle) == "WAITING"


def test_call_after_the_end_is_refused(shop: Shop) -> None:
    kept: list[Saga] = []

    @shop.app.saga
    async def leaking(saga: Saga) -> None:
        kept.append(saga)

    shop.settle(leaking.start())
    with pytest.raises(RuntimeError, match="stretch is over"):
        asyncio.run(kept[0].step(do, "x"))


def test_saga_that_no_worker_knows_waits_for_one_that_does(shop: Shop) -> None:
    @shop.app.saga
    async def late(saga: Saga) -> None: ...

    handle = late.start()
    task = shop.app.tasks.pop("trilho.saga.late")
    assert shop.settle(handle) == "RUNNING"
    shop.app.tasks["trilho.saga.late"] = task
    assert shop.settle(handle) == "COMPLETED"


def test_record_has_its_limits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilho.sagas.journal.MOST_ENTRIES", 5)

    @shop.app.saga
    async def long(saga: Saga) -> None:
        for number in range(10):
            await saga.step(do, str(number))

    handle = long.start()
    assert shop.settle(handle) == "COMPENSATED"
    assert "has recorded 5 steps" in str(handle.run().error)


def test_run_with_a_thousand_steps_completes(shop: Shop) -> None:
    @shop.app.saga
    async def long(saga: Saga) -> int:
        total = 0
        for number in range(990):
            total += await saga.step(same, number)
        for number in range(10):
            await saga.step(shop.app.tasks["work"], str(number))
        return total

    handle = long.start()
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == sum(range(990))


def same(number: int) -> int:
    return number


def test_step_that_replaces_itself_fails_instead_of_being_waited_for_in_vain(shop: Shop) -> None:
    @shop.app.task(shared=False, name="replacing", bind=True)
    def replacing(self: Any, what: str) -> None:
        raise self.replace(shop.app.tasks["work"].s(what))

    @shop.app.saga
    async def trip(saga: Saga) -> None:
        await saga.step(replacing, "a")

    handle = trip.start()
    assert shop.settle(handle) == "COMPENSATED"
    assert "it cannot replace itself" in str(handle.run().error)


def test_names_and_keys_that_cannot_be_stored_fail_the_run_and_nothing_else(shop: Shop) -> None:
    @shop.app.saga(events=("paid",))
    async def waiting(saga: Saga, kind: str) -> None:
        match kind:
            case "signal":
                await saga.wait_signal("a\x00")
            case "patch":
                saga.patched("a\ud800")
            case "event":
                await saga.wait_event("paid", key=random.Random(1).randbytes(4000))

    runs = {kind: waiting.start(kind) for kind in ("signal", "patch", "event")}
    shop.harness.run_until_idle()
    assert {kind: run.run().error for kind, run in runs.items() if run.state != "COMPENSATED"} == {}
    assert "up to 2000 bytes" in str(runs["event"].run().error)
    with pytest.raises(ValueError, match="name of a signal"):
        runs["event"].signal("a\x00")
