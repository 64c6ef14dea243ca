"""`app.atransaction()`, and the `a`-prefixed twins."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest
from sqlalchemy import text

from tests.jobs.shop import Query
from trilho import Result, Task, TransactionError, Trilho
from trilho.db.transaction import AsyncTx

Noop = Task[[int], None]
R = TypeVar("R")


def run(app: Trilho, main: Callable[[], Awaitable[R]]) -> R:
    """`asyncio.run`, with the connections of that loop closed in it."""

    async def closing() -> R:
        try:
            return await main()
        finally:
            await app.database.async_engine.dispose()

    return asyncio.run(closing())


@pytest.fixture
def noop(app: Trilho) -> Noop:
    @app.task
    def noop(number: int) -> None: ...

    return noop


def test_row_and_job_appear_with_the_commit(app: Trilho, noop: Noop, query: Query) -> None:
    query("CREATE TABLE people (name text)")

    async def main() -> Result[None]:
        async with app.atransaction() as tx:
            await tx.session.execute(text("INSERT INTO people VALUES ('ana')"))
            result = noop.delay(1)
            assert not await asyncio.to_thread(result.exists)
        return result

    assert run(app, main).exists()
    assert query("SELECT name FROM people") == [("ana",)]


def test_nothing_survives_an_exception(app: Trilho, noop: Noop) -> None:
    results: list[Result[None]] = []

    async def main() -> None:
        async with app.atransaction() as tx:
            await tx.session.execute(text("SELECT 1"))
            results.append(await noop.adelay(1))
            raise KeyError

    with pytest.raises(KeyError):
        run(app, main)
    assert not results[0].exists()


def test_nested_block_is_a_savepoint(app: Trilho, noop: Noop) -> None:
    async def main() -> list[Result[None]]:
        async with app.atransaction():
            before = noop.delay(1)
            with suppress(KeyError):
                async with app.atransaction():
                    inside = await noop.adelay(2)
                    raise KeyError
            after = await noop.aapply_async((3,))
        return [before, inside, after]

    assert [result.exists() for result in run(app, main)] == [True, False, True]


def test_block_without_statements_writes_its_jobs(app: Trilho, noop: Noop) -> None:
    async def main() -> Result[None]:
        async with app.atransaction():
            return noop.delay(1)

    assert run(app, main).exists()


def test_handle_may_be_awaited(app: Trilho, noop: Noop) -> None:
    async def main() -> tuple[Result[None], Result[None]]:
        async with app.atransaction():
            result = noop.delay(1)
            return result, await result

    first, second = run(app, main)
    assert first is second


def test_enqueue_alone_does_not_run_in_the_event_loop(app: Trilho, noop: Noop, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    write = app.enqueuer.enqueue

    def remember(rows: object) -> None:
        threads.append(threading.current_thread())
        write(rows)

    monkeypatch.setattr(app.enqueuer, "enqueue", remember)

    async def main() -> tuple[Result[None], threading.Thread]:
        return await noop.adelay(1), threading.current_thread()

    result, loop_thread = run(app, main)
    assert result.exists()
    assert threads
    assert loop_thread not in threads


def test_use_by_another_task_raises(app: Trilho, noop: Noop) -> None:
    async def main() -> None:
        async with app.atransaction():
            await asyncio.gather(noop.adelay(1))

    with pytest.raises(TransactionError, match="another thread or task"):
        run(app, main)


def test_use_after_the_end_raises(app: Trilho, noop: Noop) -> None:
    async def main() -> AsyncTx:
        async with app.atransaction() as tx:
            pass
        return tx

    with pytest.raises(TransactionError, match="over"):
        _ = run(app, main).session


def test_transactions_of_two_tasks_do_not_meet(app: Trilho, noop: Noop) -> None:
    async def one(number: int, fails: bool) -> Result[None]:
        async with app.atransaction() as tx:
            result = noop.delay(number)
            await tx.session.execute(text("SELECT pg_sleep(0.05)"))
            if fails:
                results.append(result)
                raise KeyError
        return result

    results: list[Result[None]] = []

    async def main() -> list[Result[None] | BaseException]:
        return await asyncio.gather(one(1, False), one(2, True), return_exceptions=True)

    kept, failed = run(app, main)
    assert isinstance(failed, KeyError)
    assert kept.exists()
    assert not results[0].exists()


def test_kinds_do_not_nest(app: Trilho) -> None:
    async def sync_in_async() -> None:
        async with app.atransaction():
            with app.transaction():
                pass

    async def async_in_sync() -> None:
        with app.transaction():
            async with app.atransaction():
                pass

    with pytest.raises(TransactionError, match="async with"):
        run(app, sync_in_async)
    with pytest.raises(TransactionError, match="use `with"):
        run(app, async_in_sync)


def test_every_event_loop_has_connections_of_its_own(app: Trilho, noop: Noop) -> None:
    async def main() -> Result[None]:
        async with app.atransaction() as tx:
            await tx.session.execute(text("SELECT 1"))
            return noop.delay(1)

    assert all(run(app, main).exists() for _ in range(2))
