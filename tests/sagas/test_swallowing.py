"""Code that swallows what leaves the saga function is told so, and never runs for ever."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.sagas.conftest import Shop, do, refuse, undo
from tests.sagas.test_determinism import redefined
from trilho import Saga

ENDLESS = 5000
turns: list[int] = []


@pytest.fixture(autouse=True)
def _count() -> None:
    turns.clear()


def endless() -> bool:
    """As `while True`, but for a test that fails."""
    turns.append(1)
    return len(turns) < ENDLESS


async def logs(saga: Saga) -> None:
    while endless():
        try:
            await saga.sleep(100)
        except BaseException:
            saga.log.info("again")


async def asks_the_time(saga: Saga) -> None:
    while endless():
        with suppress(BaseException):
            saga.patched("x")
            saga.uuid()
            saga.now()
            await saga.sleep(100)


async def in_the_handler(saga: Saga) -> None:
    try:
        await saga.sleep(100)
    except BaseException:
        while endless():
            with suppress(BaseException):
                await saga.wait_signal("go")


async def in_a_branch(saga: Saga) -> None:
    await saga.gather(logs(saga), saga.step(do, "beside"))


async def around_a_gather(saga: Saga) -> None:
    while endless():
        with suppress(BaseException):
            await saga.gather(saga.step(do, "a"), saga.sleep(100))


async def once(saga: Saga) -> None:
    with suppress(BaseException):
        await saga.sleep(100)
    await saga.step(do, "never")


Function = Callable[[Saga], Coroutine[Any, Any, None]]
FUNCTIONS = [logs, asks_the_time, in_the_handler, in_a_branch, around_a_gather, once]
ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@ignored  # such a function swallows its own end, too
@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_that_swallows_a_suspension_gets_stuck_and_goes_on_once_it_is_mended(
    shop: Shop, function: Function
) -> None:
    async def mended(saga: Saga) -> str:
        try:
            if function is in_a_branch:
                await saga.gather(saga.sleep(100), saga.step(do, "beside"))
            elif function is around_a_gather:
                await saga.gather(saga.step(do, "a"), saga.sleep(100))
            else:
                if function is asks_the_time:
                    saga.patched("x"), saga.uuid(), saga.now()
                await saga.sleep(100)
        except Exception:
            saga.log.info("an error")
        return "slept"

    handle = redefined(shop, "sleepy", function).start()
    assert shop.settle(handle) == "STUCK"
    gc.collect()
    assert len(turns) < 200
    assert "the code has swallowed the BaseException that was to leave the saga function" in str(handle.run().stuck)
    assert "never" not in shop.effects()
    redefined(shop, "sleepy", mended)
    handle.retry()
    assert shop.settle(handle) == "WAITING"
    shop.harness.advance(seconds=101)
    assert shop.settle(handle) == "COMPLETED"


@ignored
def test_log_is_silent_once_nothing_counts(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    shop.settle(redefined(shop, "sleepy", logs).start())
    assert [r.getMessage() for r in caplog.records if r.name == "trilho.saga"][1:] == []


@ignored
def test_function_that_swallows_the_end_of_its_stretch_goes_on_in_another(shop: Shop) -> None:
    struck: list[str] = []

    def away(point: str) -> None:
        if point == "saga.step_before_commit" and not struck:
            struck.append(point)
            raise psycopg.OperationalError("the server closed the connection")

    @shop.app.saga
    async def stubborn(saga: Saga) -> None:
        done = False
        while endless() and not done:
            with suppress(BaseException):
                await saga.step(do, "a")
                done = True

    handle = stubborn.start()
    with shop.at_points(away):
        shop.harness.run_until_idle()
    assert struck
    assert len(turns) < 200
    shop.query("UPDATE trilho.jobs SET state = 'PENDING', claim_token = NULL WHERE state = 'STARTED'")
    shop.harness.advance(seconds=10)
    assert shop.settle(handle) == "COMPLETED"
    assert shop.effects() == ["a"]


def test_function_that_swallows_the_limit_of_its_record_is_undone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilho.sagas.journal.MOST_ENTRIES", 5)

    @shop.app.saga
    async def persistent(saga: Saga) -> None:
        await saga.step(do, "a", undo=undo)
        while endless():
            with suppress(Exception):
                await saga.step(refuse, "no")

    handle = persistent.start()
    assert shop.settle(handle) == "COMPENSATED"
    assert "has recorded 5 steps" in str(handle.run().error)
    assert len(turns) < 200
    assert shop.effects() == ["a", "undo a a done"]


def test_function_is_played_as_it_would_be_awaited(shop: Shop) -> None:
    """The player hands on what comes from asyncio, errors and results of awaited things included."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("x")

    @shop.app.saga
    async def ordinary(saga: Saga) -> str:
        await asyncio.sleep(0)
        with suppress(LookupError):
            await asyncio.create_task(fails())
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        return await asyncio.to_thread(str, 7)

    handle = ordinary.start()
    assert shop.settle(handle) == "COMPLETED"
    assert handle.get(1) == "7"
