"""What a process has for itself."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trilho.db.forks import PerProcess


def test_threads_that_ask_first_at_the_same_time_get_the_same_object() -> None:
    both = threading.Barrier(2)

    def make() -> object:
        both.wait(30)
        return object()

    own = PerProcess(make)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(own.here), pool.submit(own.here)
        assert one.result(30) is other.result(30)


def test_child_has_an_object_of_its_own_and_the_parent_keeps_his(monkeypatch: pytest.MonkeyPatch) -> None:
    own = PerProcess(object)
    mine = own.here()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        assert own.here() is not mine
    assert own.here() is mine
