"""Typed use of the public names. Each line marked `error` must be refused by mypy and pyright, every other accepted."""

from collections.abc import Callable
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from trilho import (
    AsyncTx,
    IdempotencyKey,
    Job,
    JobFilter,
    JobPage,
    QueueStats,
    Result,
    Retry,
    Saga,
    SagaFilter,
    SagaRun,
    SagaStep,
    Task,
    Trilho,
    Tx,
)

app = Trilho("shop", broker="redis://localhost", database="postgresql://localhost")


@app.task
def plain(to: str, times: int = 1) -> str:
    return to * times


@app.task(max_retries=3, autoretry_for=(OSError,), retry_backoff=True, name="shop.configured")
def configured(number: int) -> float:
    return number / 2


@app.task(bind=True, max_retries=3)
def bound(self: Task[..., Any], number: int, *, loud: bool = False) -> bytes:
    if loud:
        raise self.retry(countdown=5)
    return bytes(number)


@app.task(transactional=True)
def transactional(name: str, *, tx: Tx) -> int:
    tx.session.flush()
    tx.connection.execute("SELECT 1")
    return len(name)


@app.task
async def coroutine(number: int) -> str:
    return str(number)


@app.task(soft_time_limit=5)
async def configured_coroutine(number: int) -> str:
    return str(number)


@app.task(bind=True)
async def bound_coroutine(self: Task[..., Any], number: int) -> list[int]:
    return [number]


@app.task(transactional=True)
async def transactional_coroutine(name: str, *, tx: Tx) -> int:
    return len(name)


# ---- tasks

assert_type(coroutine.delay(1), Result[str])
assert_type(coroutine.delay(1).get(), str)
assert_type(coroutine(1), str)
assert_type(configured_coroutine.delay(1), Result[str])
assert_type(bound_coroutine.delay(1), Result[list[int]])
assert_type(transactional_coroutine.delay("a"), Result[int])
coroutine.delay("a")  # error
configured_coroutine.delay("a")  # error
bound_coroutine.delay()  # error

assert_type(plain.delay("a"), Result[str])
assert_type(plain.delay("a", 2), Result[str])
assert_type(plain.delay("a", times=2), Result[str])
assert_type(plain("a"), str)
assert_type(configured.delay(1), Result[float])
assert_type(configured(1), float)
assert_type(bound.delay(1, loud=True), Result[bytes])
assert_type(transactional.delay("a"), Result[int])
assert_type(plain.apply_async(("a",), {"times": 2}, countdown=5, queue="low"), Result[str])
assert_type(plain.delay("a").id, str)
assert_type(plain.delay("a").get(timeout=1), str)
assert_type(plain.delay("a").exists(), bool)
plain.s("a").apply_async()

plain.delay()  # error
plain.delay(1)  # error
plain.delay("a", "b")  # error
plain.delay("a", unknown=1)  # error
configured.delay("1")  # error
bound.delay("1")  # error
bound.delay(1, True)  # error
plain(1)  # error
plain.delay("a").get(timeout="1")  # error


# ---- transactions


def in_a_transaction() -> None:
    with app.transaction() as tx:
        assert_type(tx, Tx)
        assert_type(tx.session, Session)
        plain.delay("a")


async def in_an_async_transaction() -> None:
    async with app.atransaction() as tx:
        assert_type(tx, AsyncTx)
        assert_type(tx.session, AsyncSession)
        assert_type(await plain.adelay("a", times=2), Result[str])
        assert_type(await plain.delay("a"), Result[str])
        await plain.adelay(1)  # error


def joined(session: Session) -> None:
    assert_type(app.join(session).delay(plain, "a", times=2), Result[str])
    assert_type(app.join(session).apply_async(configured, (1,), queue="low"), Result[float])
    app.join(session).delay(plain, 1)  # error
    app.join(session).delay(plain)  # error


def with_the_wrong_kind() -> None:
    async def inside() -> None:
        with app.atransaction():  # error
            pass

    del inside


# ---- looking and steering


def looks(job_id: str) -> None:
    assert_type(app.jobs.get(job_id), Job)
    assert_type(app.jobs.list(JobFilter(state="FAILURE", limit=5)), JobPage)
    assert_type(app.jobs.list().items, list[Job])
    assert_type(app.jobs.retry(job_id), Job)
    assert_type(app.jobs.cancel(job_id), Job)
    assert_type(app.jobs.wait(job_id, timeout=1.5), Job)
    assert_type(app.jobs.stats(), QueueStats)
    assert_type(app.jobs.get(job_id).error, str | None)
    app.jobs.get(5)  # error
    JobFilter(status="FAILURE")  # error
    app.jobs.get(job_id).state = "SUCCESS"  # error


def many() -> None:
    assert_type(app.enqueue_many(plain, [("a",), {"to": "b"}], queue="low"), list[Result[str]])
    app.enqueue_many(plain, "abc")  # error


@app.on_migrate
def tables(connection: Any) -> None:
    connection.execute("CREATE TABLE people ()")


def progress(current: int) -> None:
    app.progress(current, 10, "step")
    app.progress("half")  # error


higher_order: Callable[[str], Result[str]] = plain.delay
wrong: Callable[[int], Result[str]] = plain.delay  # error


# ---- sagas


def reserve(order: int, note: str, tx: Tx) -> bytes:
    return b""


async def ship(order: int) -> float:
    return 1.0


def pay(order: int, key: IdempotencyKey) -> str:
    return key


@app.saga
async def place_order(saga: Saga, order: int, note: str) -> list[str]:
    assert_type(await saga.step(plain, "a", 2), str)
    assert_type(await saga.step(configured, order), float)
    assert_type(await saga.step(coroutine, order), str)
    assert_type(await saga.step(reserve, order, note, undo=configured, retry=Retry(attempts=2)), bytes)
    assert_type(await saga.step(ship, order, timeout=5.0), float)
    assert_type(await saga.step(pay, order), str)
    assert_type(await saga.gather(saga.step(ship, order), saga.step(configured, 1)), tuple[float, float])
    assert_type(await saga.wait_signal("go", timeout=1, into=NewOrder), NewOrder)
    assert_type(await saga.wait_event("paid", key=order, into=NewOrder), NewOrder)
    assert_type(await saga.call(small, order), int)
    await saga.step(ship, "a")  # error
    await saga.step(reserve, order)  # error
    await saga.step(ship, order, undone=plain)  # error
    await saga.call(small, "a")  # error
    return [note]


@app.saga(version=2, events=["paid"], timeout=60)
async def small(saga: Saga, order: int) -> int:
    return saga.version + order


class NewOrder:
    pass


async def starting() -> None:
    assert_type(place_order.start(1, "a", id="order-1").get(timeout=3), list[str])
    assert_type(await (await small.astart(1)).aget(), int)
    assert_type(small.start(1).history(), list[SagaStep])
    assert_type(app.sagas.list(SagaFilter(state="STUCK")).items, list[SagaRun])
    app.sagas.get("order-1").signal("go", {"yes": True})
    place_order.start("a", "b")  # error
    place_order.start(1)  # error
    place_order.start(1, "a", ident="order-1")  # error
