"""Memory that a worker shares with its pool processes."""

import fcntl
import os
import signal
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilho.processes.shared import BODY, IDLE, SharedState, boot_time


def test_process_without_a_lease_may_not_run_bodies() -> None:
    assert not SharedState(1).may_run()


def test_lease_is_good_until_its_deadline() -> None:
    shared = SharedState(1)
    shared.deadline = boot_time() + 60
    assert shared.may_run()
    shared.deadline = boot_time()
    assert not shared.may_run()


def test_boot_time_goes_on_like_the_clock() -> None:
    before, began = boot_time(), time.monotonic()
    time.sleep(0.05)
    assert abs((boot_time() - before) - (time.monotonic() - began)) < 0.05


def test_child_and_parent_see_each_other() -> None:
    shared = SharedState(2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        shared.mark(1, BODY if shared.may_run() else IDLE)
        os._exit(0)
    shared.deadline = boot_time() + 60
    os.write(writer, b".")
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert shared.read(1) == BODY


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 400)), max_size=20))
def test_slots_do_not_touch_each_other_or_the_deadline(marks: list[tuple[int, int]]) -> None:
    shared = SharedState(10)
    shared.deadline = 123.5
    expected = dict.fromkeys(range(10), IDLE)
    for slot, value in marks:
        shared.mark(slot, value)
        expected[slot] = min(value, 255)
    assert {slot: shared.read(slot) for slot in range(10)} == expected
    assert shared.deadline == 123.5


def test_what_is_taken_is_never_given_back_and_the_other_way_round() -> None:
    """A process takes as fast as it can, until another one closes the slice: both agree on what was taken."""
    for _ in range(30):
        shared = SharedState(2)
        shared.open(1)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            taken = next((index for index in range(200) if not shared.take(1, index)), 200)
            os.write(writer, bytes([taken]))
            os._exit(0)
        closed_at = None
        while closed_at is None:
            with suppress(BlockingIOError):
                closed_at = shared.close(1)
        assert os.read(reader, 1) == bytes([closed_at])
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        assert shared.close(1) is None


def test_process_that_dies_with_the_gate_in_its_hands_blocks_nobody() -> None:
    shared = SharedState(1)
    child = os.fork()
    if child == 0:
        fcntl.lockf(shared._gates, fcntl.LOCK_EX, 1, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    with pytest.raises(BlockingIOError):
        shared.close(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert shared.close(0) == 0


def test_slot_begins_anew_with_each_slice() -> None:
    shared = SharedState(1)
    assert shared.take(0, 4)
    assert (shared.running(0), shared.taken(0)) == (4, 5)
    shared.close(0)
    assert not shared.take(0, 5)
    shared.open(0)
    assert (shared.running(0), shared.taken(0)) == (None, 0)
    assert shared.take(0, 0)
