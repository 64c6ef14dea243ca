"""LISTEN is a hint; whoever waits also looks."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from tests.jobs.shop import Query
from tests.lab.poll import eventually
from trilho.db.pool import Database
from trilho.db.wakeups import CHANNEL, Bell, Listener, polling_pauses
from trilho.settings import Settings


@pytest.fixture
def make(database: str) -> Iterator[Callable[..., Listener]]:
    made: list[Database] = []

    def listener(**settings: object) -> Listener:
        made.append(Database(Settings(database_url=database, **settings)))
        return Listener(made[-1])

    yield listener
    for each in made:
        each.close()


def notify(query: Query, key: str) -> None:
    query("SELECT pg_notify(%s, %s)", CHANNEL, key)


def test_ring_before_the_wait_is_not_lost() -> None:
    bell = Bell()
    bell.ring("a")
    bell.wait(60)
    assert bell.take() == {"a"}
    assert bell.take() == set()


def test_announcement_reaches_those_who_watch_its_key(make: Callable[..., Listener], query: Query) -> None:
    listener = make()
    with listener.watching(["a"]) as first, listener.watching(["a", "b"]) as second:
        eventually(listener.connected.is_set)
        first.wait(1)  # the ring after the connect: something may have been missed before it
        second.wait(1)
        notify(query, "b")
        second.wait(10)
        assert (first.take(), second.take()) == (set(), {"b"})


def test_nobody_who_left_is_kept(make: Callable[..., Listener]) -> None:
    listener = make()
    with listener.watching(["a"]):
        pass
    assert listener._watchers == {}


def test_lost_connection_is_made_again_and_rings_everybody(make: Callable[..., Listener], query: Query) -> None:
    listener = make()
    with listener.watching(["a"]) as bell:
        eventually(listener.connected.is_set)
        bell.wait(1)
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
        )
        bell.wait(10)
        eventually(listener.connected.is_set)
        notify(query, "a")
        eventually(lambda: bell.take() or bell.wait(0.1), lambda taken: taken == {"a"})


def test_nothing_listens_where_it_is_turned_off(make: Callable[..., Listener]) -> None:
    listener = make(listen_url="off")
    with listener.watching(["a"]):
        assert not any(thread.name == "trilho-listen" for thread in threading.enumerate() if thread is listener._thread)
        assert listener._thread is None


def test_direct_url_is_used_for_listening(make: Callable[..., Listener], database: str, query: Query) -> None:
    listener = make(listen_url=f"{database}?application_name=direct")
    with listener.watching(["a"]):
        eventually(listener.connected.is_set)
        assert query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'direct'") == [(1,)]


def test_polling_grows_slower_and_never_slower_than_half_a_second() -> None:
    pauses = list(islice(polling_pauses(), 50))
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.01
    assert pauses[-1] == 0.5
