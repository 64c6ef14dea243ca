"""Typed use of the public names. Each line marked `error` must be refused by mypy and pyright, every other accepted."""

from collections.abc import Callable
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from trilho import AsyncTx, Job, JobFilter, JobPage, QueueStats, Result, Task, Trilho, Tx

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
