"""Pairs of kills: the first strikes a run, the second whoever takes it over. `TRILHO_CHAOS_PAIRS=all` for all pairs."""

import itertools
import os
import random

import pytest

from tests.faults.apps import sagas
from tests.faults.apps.saga_pairs import STRUCK, named
from tests.faults.test_sagas import IN_WORKERS, TIMERS, World, world
from tests.lab.poll import eventually

__all__ = ["world"]

WORKER = "tests.faults.apps.saga_pairs"
POINTS = [point for point in IN_WORKERS if point not in TIMERS]  # those end the whole worker
ONCE = ["saga.call_", "saga.open_", "saga.condemn_"]  # in this order, and once in each run
Pair = tuple[str, str]


def stage(point: str) -> int:
    return next((number for number, prefix in enumerate(ONCE, 1) if point.startswith(prefix)), 0)


def can_follow(pair: Pair) -> bool:
    """Whether a run passes the second point after it was killed at the first."""
    first, second = pair
    again = stage(first) == stage(second) and "_before_" in first
    return stage(second) == 0 or stage(second) > stage(first) or again


ALL = [pair for pair in itertools.product(POINTS, POINTS) if can_follow(pair)]


def covering(seed: int) -> list[Pair]:
    """Each point strikes first, and each second, as soon as it can."""
    shuffled = random.Random(seed).sample(ALL, len(ALL))
    chosen: list[Pair] = []
    for place in (0, 1):
        for point in POINTS:
            if point not in {pair[place] for pair in chosen}:
                chosen.append(next(pair for pair in shuffled if pair[place] == point))
    return chosen


@pytest.mark.timeout(600)
def test_process_killed_at_each_of_two_points_the_second_while_it_recovers(world: World) -> None:
    pairs = ALL if os.environ.get("TRILHO_CHAOS_PAIRS") == "all" else covering(seed=6)
    struck = world.lab.folder / "struck"
    struck.mkdir()
    world.lab.settings[STRUCK] = str(struck)
    world.lab.worker("pairs", app=WORKER, concurrency=4, max_crashes=1000)
    for first, second in pairs:
        run = named(first, second)
        world.kinds[run] = sagas.BAD
        world.trip.start(run, sagas.BAD, id=run)
    eventually(world.unfinished, lambda rows: not rows, timeout=60 + 2 * len(pairs), every=0.2)
    strikes = {file.name for file in struck.iterdir()}
    assert strikes == {f"{named(*pair)}.{number}" for pair in pairs for number in (0, 1)}
    world.check()
