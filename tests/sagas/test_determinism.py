"""Code that no longer matches its record is found, and old runs can take their old way."""

import itertools
import random
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.sagas.conftest import Shop, do, undo
from trilho import Saga


def redefined(shop: Shop, name: str, function: Any, **options: Any) -> Any:
    """Deploy another version of a saga."""
    shop.app.sagas.definitions.pop(name, None)
    shop.app._tasks.pop(f"trilho.saga.{name}", None)
    return shop.app.saga(name=name, **options)(function)


async def first(saga: Saga) -> str:
    await saga.step(do, "a", undo=undo)
    await saga.wait_signal("go")
    return await saga.step(do, "b")


def other(what: str) -> str:
    return what


async def renamed(saga: Saga) -> str:
    await saga.step(other, "a", undo=undo)
    await saga.wait_signal("go")
    return "renamed"


async def shortened(saga: Saga) -> str:
    return "nothing of it"


async def gathering(saga: Saga) -> Any:
    return await saga.gather(saga.step(do, "a", undo=undo), saga.step(do, "b"))


async def without_undo(saga: Saga) -> str:
    await saga.step(do, "a")
    await saga.wait_signal("go")
    raise LookupError


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (renamed, "step 1: recorded is step 'do', the code has step 'other' now"),
        (shortened, "step 1: recorded is step 'do', the code ends before it now"),
        (gathering, "step 1: the code has a gather now"),
    ],
)
def test_code_that_does_not_fit_the_record_stops_the_run_and_the_old_code_lets_it_go_on(
    shop: Shop, code: Any, told: str
) -> None:
    handle = redefined(shop, "changing", first).start()
    assert shop.settle(handle) == "WAITING"
    redefined(shop, "changing", code)
    handle.signal("go")
    assert shop.settle(handle) == "STUCK"
    assert told in str(handle.run().stuck)
    redefined(shop, "changing", first)
    handle.retry()
    assert shop.settle(handle) == "COMPLETED"
    assert shop.effects() == ["a", "b"]


def test_undo_that_the_code_has_no_longer_is_missed(shop: Shop) -> None:
    handle = redefined(shop, "changing", first).start()
    shop.settle(handle)
    redefined(shop, "changing", without_undo)
    handle.signal("go")
    assert shop.settle(handle) == "STUCK"
    assert "which the code has no longer" in str(handle.run().stuck)


def test_patched_and_version_let_old_runs_go_on(shop: Shop) -> None:
    async def old(saga: Saga) -> list[Any]:
        await saga.step(do, "a")
        await saga.wait_signal("go")
        return [saga.version, await saga.step(do, "c")]

    async def new(saga: Saga) -> list[Any]:
        await saga.step(do, "a")
        if saga.patched("b before waiting"):
            await saga.step(do, "b")
        await saga.wait_signal("go")
        return [saga.version, await saga.step(do, "c" if saga.version < 2 else "d")]

    before = redefined(shop, "changing", old).start()
    shop.settle(before)
    after = redefined(shop, "changing", new, version=2).start()
    shop.settle(after)
    for handle in (before, after):
        handle.signal("go")
    assert (shop.settle(before), shop.settle(after)) == ("COMPLETED", "COMPLETED")
    assert (before.get(1), after.get(1)) == ([1, "c done"], [2, "d done"])
    assert shop.effects() == ["a", "a", "b", "c", "d"]


def test_every_run_can_be_played_anew_after_each_step(shop: Shop) -> None:
    plays = []

    @shop.app.saga
    async def fine(saga: Saga) -> None:
        plays.append(1)
        for number in range(4):
            await saga.step(do, str(number))

    shop.harness.replay_sagas()
    assert shop.settle(fine.start()) == "COMPLETED"
    assert len(plays) == 5
    assert shop.effects() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("how", ["order", "arguments"])
def test_playing_anew_finds_what_is_not_deterministic(shop: Shop, how: str) -> None:
    chance, numbers = random.Random(3), itertools.count()

    @shop.app.saga
    async def moody(saga: Saga) -> None:
        for what in chance.sample([do, other], 2) if how == "order" else [do, do]:
            await saga.step(what, "x" if how == "order" else str(next(numbers)))
        await saga.step(do, "end")

    shop.harness.replay_sagas()
    handle = moody.start()
    for _ in range(10):
        if shop.settle(handle) == "STUCK":
            break
        handle = moody.start()
    assert "does not fit" in str(handle.run().stuck) or "not deterministic" in str(handle.run().stuck)


def test_calls_from_finally_blocks_of_a_run_that_suspends_are_refused(shop: Shop) -> None:
    @shop.app.saga
    async def tidy(saga: Saga) -> str:
        try:
            await saga.wait_signal("go")
        finally:
            await saga.step(do, "tidied")
        return "end"

    @shop.app.saga
    async def swallowing(saga: Saga) -> str:
        try:
            await saga.wait_signal("go")
        except BaseException:
            return "swallowed"
        return "end"

    one, two = tidy.start(), swallowing.start()
    assert (shop.settle(one), two.state) == ("WAITING", "WAITING")
    assert shop.effects() == []
    one.signal("go")
    two.signal("go")
    assert (shop.settle(one), two.state) == ("COMPLETED", "COMPLETED")
    assert shop.effects() == ["tidied"]
    assert two.get(1) == "end"


@pytest.mark.parametrize("how", ["connection", "torn down"])
def test_stretch_that_is_torn_down_makes_no_calls_and_the_run_goes_on_in_another(shop: Shop, how: str) -> None:
    struck: list[str] = []

    @shop.app.saga
    async def tidy(saga: Saga) -> None:
        try:
            await saga.step(do, "a", undo=undo)
            if how == "torn down" and len(struck) < 1:
                struck.append(how)
                raise KeyboardInterrupt
        finally:
            await saga.step(do, "tidied")

    def away(point: str) -> None:
        if how == "connection" and point == "saga.step_before_commit" and not struck:
            struck.append(point)
            raise psycopg.OperationalError("the server closed the connection")

    handle = tidy.start()
    with shop.at_points(away), suppress(KeyboardInterrupt):
        shop.harness.run_until_idle()
    assert struck
    assert "tidied" not in shop.effects()
    shop.query("UPDATE trilho.jobs SET state = 'PENDING', claim_token = NULL WHERE state = 'STARTED'")
    shop.harness.advance(seconds=10)
    assert shop.settle(handle) == "COMPLETED"
    assert shop.effects() == ["a", "tidied"]


@pytest.mark.parametrize("point", ["saga.step_before", "saga.record_before_commit", "saga.condemn_before_commit"])
def test_stretch_whose_job_was_handed_over_leaves_no_trace(shop: Shop, point: str) -> None:
    struck: list[str] = []

    def hand_over(passed: str) -> None:
        if passed == point and not struck:
            struck.append(point)
            shop.query("UPDATE trilho.jobs SET claim_token = gen_random_uuid() WHERE state = 'STARTED'")

    @shop.app.saga
    async def work(saga: Saga) -> None:
        if point == "saga.record_before_commit":
            await saga.step(other, "nothing")
            await saga.step(other, "again")  # before it begins, what was there first is written
        elif point == "saga.step_before":
            await saga.step(do, "a")
        else:
            raise LookupError

    handle = work.start()
    with shop.at_points(hand_over):
        shop.harness.run_until_idle()
    assert struck
    assert (shop.effects(), handle.history(), handle.state) == ([], [], "RUNNING")
    shop.query("UPDATE trilho.jobs SET state = 'PENDING', claim_token = NULL WHERE state = 'STARTED'")
    assert shop.settle(handle) in ("COMPLETED", "COMPENSATED")
    assert shop.effects() == (["a"] if point == "saga.step_before" else [])
