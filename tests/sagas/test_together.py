"""Group commit: threads that come while another one writes share the next statement, and each hears of its own item."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4
from weakref import ref

import psycopg
import pytest

from tests.lab.database import port_of, with_port
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from tests.sagas.conftest import Shop
from trilho import Saga
from trilho.db.pool import Connection, Database
from trilho.sagas import store
from trilho.sagas.record import Claim, Entry
from trilho.sagas.together import MOST, Desk, Together, _Turn
from trilho.settings import Settings

THREADS = 6


class Squares:
    """A verb that waits where it is told to, and knows what it was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, connection: Connection, numbers: Sequence[int]) -> list[int]:
        self.asked.append(list(numbers))
        self.open.wait(30)
        rows = connection.execute("SELECT 100 / n, n * n FROM unnest(%s::int[]) AS n", (list(numbers),)).fetchall()
        return [square for _, square in rows]


@pytest.fixture
def desk(shop: Shop) -> Iterator[Desk]:
    desk = Desk(shop.app.database)
    yield desk
    shop.app.database.close()


@pytest.fixture
def squares(desk: Desk) -> Iterator[tuple[Squares, Together[int, int]]]:
    verb = Squares()
    yield verb, Together(desk, verb)
    verb.open.set()


def gathered(together: Together[int, int], count: int) -> None:
    eventually(lambda: len(together._line.here().waiting), lambda waiting: waiting == count)


def test_those_that_come_meanwhile_share_the_next_statement(squares: tuple[Squares, Together[int, int]]) -> None:
    verb, together = squares
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        others = [pool.submit(together.do, number) for number in range(2, THREADS + 1)]
        gathered(together, THREADS - 1)
        verb.open.set()
        assert [each.result(30) for each in (first, *others)] == [n * n for n in range(1, THREADS + 1)]
    assert [sorted(asked) for asked in verb.asked] == [[1], list(range(2, THREADS + 1))]
    assert together.do(9) == 81


def test_what_cannot_be_written_does_not_take_the_others_with_it(squares: tuple[Squares, Together[int, int]]) -> None:
    verb, together = squares
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        good, bad = pool.submit(together.do, 3), pool.submit(together.do, 0)
        gathered(together, 2)
        verb.open.set()
        assert (first.result(30), good.result(30)) == (1, 9)
        with pytest.raises(psycopg.errors.DivisionByZero):
            bad.result(30)
    assert together.do(4) == 16


def test_leader_that_is_interrupted_leaves_the_lead_to_the_next(squares: tuple[Squares, Together[int, int]]) -> None:
    """KeyboardInterrupt in the thread that writes: the others hear that there is no answer, or go on."""
    verb, together = squares
    calls: list[int] = []

    def interrupted(connection: Connection, numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        if len(calls) == 1:
            verb.open.wait(30)
            raise KeyboardInterrupt
        return verb(connection, numbers)

    together._verb = interrupted
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: calls, lambda calls: calls == [1])
        second = pool.submit(together.do, 2)
        gathered(together, 1)
        verb.open.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(30)
        assert second.result(30) == 4


def test_connection_that_broke_is_opened_again_and_what_may_be_repeated_is(desk: Desk) -> None:
    breaks: list[int] = []

    def pid(connection: Connection, items: Sequence[str]) -> list[int]:
        if breaks:
            connection.execute("SELECT pg_terminate_backend(%s)", (breaks.pop(),))
        connection.execute("SELECT 1")
        return [connection.info.backend_pid] * len(items)

    once, twice = Together(desk, pid), Together(desk, pid, repeatable=True)
    for together in (once, twice):
        first = together.do("a")
        breaks.append(first)
        if together is once:
            with pytest.raises(psycopg.OperationalError):
                together.do("b")
        assert together.do("c") != first


def test_connection_that_the_server_closed_while_it_was_idle_is_not_used(shop: Shop, desk: Desk) -> None:
    together = Together(desk, lambda connection, items: [connection.info.backend_pid] * len(items))
    first = together.do("a")
    shop.query(f"SELECT pg_terminate_backend({first}, 10000)")
    assert together.do("b") != first


def test_outage_that_is_shorter_than_the_wait_for_a_connection_is_not_noticed(shop: Shop) -> None:
    with FaultProxy(port_of(shop.url)) as proxy:
        database = Database(Settings(database_url=with_port(shop.url, proxy.port), connect_timeout=30))
        together: Together[int, int] = Together(Desk(database), lambda _, items: list(items))
        proxy.set("refuse")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(together.do, 7)
            eventually(lambda: proxy.refused, bool)
            proxy.set("pass")
            assert asked.result(60) == 7
        database.close()


def test_lock_that_one_item_cannot_have_in_time_takes_no_other_with_it(
    squares: tuple[Squares, Together[int, int]], shop: Shop
) -> None:
    verb, together = squares

    def locked(connection: Connection, numbers: Sequence[int]) -> list[int]:
        answers = verb(connection, numbers)
        if 2 in numbers:
            connection.execute("SET lock_timeout = '10ms'")
            connection.execute("SELECT FROM trilho.shards WHERE shard = 0 FOR UPDATE")
        return answers

    together._verb = locked
    with shop.app.database.connection() as other, other.transaction(), ThreadPoolExecutor(THREADS) as pool:
        other.execute("SELECT FROM trilho.shards WHERE shard = 0 FOR UPDATE")
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        bad, good = pool.submit(together.do, 2), pool.submit(together.do, 3)
        gathered(together, 2)
        verb.open.set()
        assert (first.result(30), good.result(30)) == (1, 9)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            bad.result(30)


def test_leader_that_was_interrupted_before_it_could_say_so_is_not_waited_for(desk: Desk) -> None:
    together: Together[int, int] = Together(desk, lambda _, items: list(items))
    line, gone = together._line.here(), _Turn[int, int](1)
    line.leader = ref(gone)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(together.do, 2)
        gathered(together, 1)
        del gone
        assert asked.result(30) == 2


def test_item_that_an_interrupted_leader_had_in_hand_is_not_waited_for(
    squares: tuple[Squares, Together[int, int]],
) -> None:
    verb, together = squares
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        second = pool.submit(together.do, 2)
        gathered(together, 1)
        together._line.here().waiting.clear()
        verb.open.set()
        assert first.result(30) == 1
        with pytest.raises(psycopg.InterfaceError, match="interrupted"):
            second.result(30)


def test_threads_of_a_process_without_a_database_hear_of_it_and_go_on_when_it_is_back(shop: Shop) -> None:
    with FaultProxy(port_of(shop.url)) as proxy:
        away = Database(Settings(database_url=with_port(shop.url, proxy.port), connect_timeout=1))
        together: Together[int, int] = Together(Desk(away), lambda _, items: list(items), repeatable=True)
        proxy.set("refuse")
        with ThreadPoolExecutor(THREADS) as pool:
            asked = [pool.submit(together.do, number) for number in range(2 * THREADS)]
            for each in asked:
                with pytest.raises(psycopg.OperationalError):
                    each.result(30)
            proxy.set("pass")
            assert [pool.submit(together.do, number).result(30) for number in range(THREADS)] == [*range(THREADS)]
        away.close()


def test_more_than_fit_into_one_statement_are_done_in_several(squares: tuple[Squares, Together[int, int]]) -> None:
    verb, together = squares
    with ThreadPoolExecutor(MOST + 10) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        others = [pool.submit(together.do, 2) for _ in range(MOST + 5)]
        gathered(together, MOST + 5)
        verb.open.set()
        assert {each.result(30) for each in others} == {4}
        assert first.result(30) == 1
    assert [len(asked) for asked in verb.asked] == [1, MOST, 5]


def test_one_that_is_interrupted_while_it_waits_is_not_done(squares: tuple[Squares, Together[int, int]]) -> None:
    verb, together = squares
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(together.do, 1)
        eventually(lambda: verb.asked, lambda asked: asked == [[1]])
        line = together._line.here()
        turn = _Turn[int, int](5)
        line.waiting.append(turn)
        line.leave(turn)
        third = pool.submit(together.do, 3)
        gathered(together, 1)
        verb.open.set()
        assert (first.result(30), third.result(30)) == (1, 9)
    assert verb.asked == [[1], [3]]


def test_run_that_somebody_has_locked_keeps_no_other_from_its_end(shop: Shop) -> None:
    """A signal inside of a transaction that stays open: its run waits, those that end at the same time do not."""
    seen: list[Any] = []

    @shop.app.saga
    async def quick(saga: Saga, number: int) -> int:
        return number

    locked, free = quick.start(1), quick.start(2)
    complete = shop.app.saga_lines.ends._verb

    def look(connection: Connection, slices: Any) -> Any:
        with shop.app.database.connection() as other, other.transaction():
            other.execute("SELECT FROM trilho.sagas WHERE id = %s FOR UPDATE", (locked.id,))
            done = complete(connection, slices)
        seen.append((len(slices[0]), [len(each) for each in done]))
        return done

    shop.app.saga_lines.ends._verb = look
    assert (shop.settle(locked), shop.settle(free)) == ("COMPLETED", "COMPLETED")
    assert sum(completed for _, [completed] in seen) == sum(asked for asked, _ in seen) - 1
    assert (locked.get(1), free.get(1)) == (1, 2)


HINDRANCES = {
    "nothing": "SELECT",
    "the claim is lost": "UPDATE trilho.jobs SET claim_token = gen_random_uuid()",
    "the job was given back": "UPDATE trilho.jobs SET state = 'RETRY', worker = NULL",
    "the job was ended": "UPDATE trilho.jobs SET state = 'FAILURE', finished_at = now()",
    "the job is cancelled": "UPDATE trilho.jobs SET cancel_requested_at = now()",
    "the run is cancelled": "UPDATE trilho.sagas SET cancel_requested_at = now()",
    "the run has another stretch": "UPDATE trilho.sagas SET stretch = 'another'",
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_run_its_job_and_its_last_step_end_in_one_statement_or_not_at_all(shop: Shop, hindrance: str) -> None:
    @shop.app.saga
    async def quick(saga: Saga) -> None:
        pass

    run, token = quick.start(), uuid4()
    [(job,)] = shop.query("SELECT id FROM trilho.jobs")
    shop.query(f"UPDATE trilho.jobs SET state = 'STARTED', claim_token = '{token}', worker = gen_random_uuid()")
    shop.query(HINDRANCES[hindrance])
    page = store.Page(run.id, Claim(job, token), [Entry("1", "step", "work", "DONE", result="1")])
    before = rows(shop)
    with shop.app.database.connection() as connection:
        done = store.complete(connection, [[store.Ended(page, "7")], []])
    if hindrance == "nothing":
        assert done == [{job}, set()]
        assert rows(shop) == [("COMPLETED", "7", None, "SUCCESS", "null", "DONE")]
    else:
        assert done == [set(), set()]
        assert rows(shop) == before


def test_claim_that_is_lost_does_not_pass_by_another_of_the_same_run(shop: Shop) -> None:
    @shop.app.saga
    async def quick(saga: Saga) -> None:
        pass

    run, token = quick.start(), uuid4()
    [(job,)] = shop.query("SELECT id FROM trilho.jobs")
    shop.query(f"UPDATE trilho.jobs SET state = 'STARTED', claim_token = '{token}', worker = gen_random_uuid()")
    lost, held = (
        store.Page(run.id, Claim(job, each), [Entry(path, "step", "work", "DONE", result="1")])
        for path, each in (("1", uuid4()), ("2", token))
    )
    with shop.app.database.connection() as connection:
        assert store.record(connection, [lost, held]) == [None, False]
        assert shop.query("SELECT path FROM trilho.saga_steps") == [("2",)]
        last = store.Page(run.id, held.claim, [])
        done = store.complete(connection, [[store.Ended(lost, "7")], [store.Ended(last, "8")]])
    assert done == [set(), {job}]
    assert rows(shop) == [("COMPLETED", "8", None, "SUCCESS", "null", "DONE")]


def test_whoever_only_looks_does_not_wait_for_a_run_that_cannot_be_begun(shop: Shop) -> None:
    @shop.app.saga
    async def quick(saga: Saga, number: int) -> int:
        return number

    first = quick.start(1)
    shop.settle(first)
    with shop.app.database.connection() as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute("LOCK TABLE trilho.jobs IN EXCLUSIVE MODE")
            begun = pool.submit(quick.start, 2)
            eventually(lambda: shop.query("SELECT count(*) FROM pg_locks WHERE NOT granted"), lambda n: n == [(1,)])
            assert first.get(5) == 1
        assert begun.result(30)


def rows(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.query(
        "SELECT s.state, s.result, s.stretch, j.state, j.result, t.state FROM trilho.sagas s, trilho.jobs j"
        " LEFT JOIN trilho.saga_steps t ON t.saga_id = j.parent_id WHERE j.parent_id = s.id"
    )


def test_run_of_a_process_that_always_waits_is_announced_unasked(shop: Shop) -> None:
    """Each wait allows one run that is begun to be announced; a run that nobody waits for takes it away again."""

    @shop.app.saga
    async def quick(saga: Saga, number: int) -> int:
        return number

    def awaited() -> list[tuple[Any, ...]]:
        return shop.query("SELECT awaited FROM trilho.sagas ORDER BY created_at")

    first = quick.start(1)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(first.get, 30)
        eventually(awaited, lambda rows: rows == [(True,)])
        eventually(shop.app.waiter.listener.connected.is_set)
        second, third, named = quick.start(2), quick.start(3), quick.start(4, id="named")
        assert awaited() == [(True,), (True,), (False,), (False,)]
        others = [pool.submit(handle.get, 30) for handle in (second,)]
        shop.harness.run_until_idle()
        assert [each.result(30) for each in (waiting, *others)] == [1, 2]
    assert (third.get(5), named.get(5)) == (3, 4)
    assert (second.get(0), third.get(0)) == (2, 3)
