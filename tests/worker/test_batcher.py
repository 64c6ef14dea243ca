"""What becomes of wake-ups that led to nothing, decided in the parent."""

import math
import time
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest

from trilho.jobs.runner import ABSENT, Ran, SliceOrder
from trilho.processes.shared import SharedState
from trilho.worker.batcher import Batcher
from trilho.worker.slice import Slice


@pytest.fixture
def batcher() -> Batcher:
    consumer = Mock()
    consumer.pool.num_processes, consumer.controller.max_concurrency = 2, None
    consumer.app.shared = SharedState(2)
    consumer.app.shared.deadline = math.inf
    return Batcher(consumer)


def under_way(batcher: Batcher, *ids: str) -> Slice:
    """A slice that its process has claimed."""
    order = SliceOrder(ids, uuid4(), uuid4(), "w", batcher._free_slots.pop())
    requests: dict[str, Any] = {job_id: Mock(id=job_id, came_again=False) for job_id in ids}
    batcher.slices[order.token] = Slice(order, requests, time.monotonic())
    return batcher.slices[order.token]


def absent(*ids: str) -> dict[str, Ran]:
    return {job_id: Ran("", False, None, None, ABSENT) for job_id in ids}


def test_absent_job_is_off_the_books_while_its_slice_goes_on(batcher: Batcher) -> None:
    slice_ = under_way(batcher, "long", "late")
    batcher.partly_done(slice_.order.token, absent("late"))
    assert list(slice_.requests) == ["long"]
    assert not batcher.came_again("late"), "its next wake-up is taken for a new one"
    assert batcher.pulse.dropped == 1


@pytest.mark.parametrize("shared", [True, False])
def test_wakeup_that_comes_before_an_earlier_one_is_known_to_be_in_vain_is_kept(batcher: Batcher, shared: bool) -> None:
    slice_ = under_way(batcher, *(["long", "late"] if shared else ["late"]))
    late = slice_.requests["late"]
    assert batcher.came_again("late")
    if shared:
        batcher.partly_done(slice_.order.token, absent("late"))
    else:
        batcher.done(slice_, {})
    assert list(batcher.waiting) == [late]
    assert (batcher.pulse.dropped, late.came_again) == (0, False)
