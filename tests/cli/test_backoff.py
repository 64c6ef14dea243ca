"""When a crashed process starts again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trilho.cli.backoff import FIRST_DELAY, LONGEST_DELAY, PATIENCE, STEADY, Backoff

short_uptimes = st.lists(st.floats(0, STEADY, exclude_max=True), max_size=20)


def after(*uptimes: float) -> Backoff:
    backoff = Backoff()
    for uptime in uptimes:
        backoff = backoff.after_crash(uptime)
    return backoff


@given(short_uptimes)
def test_delay_grows_with_crashes_in_a_row_up_to_a_bound(uptimes: list[float]) -> None:
    delays = [after(*uptimes[: count + 1]).delay for count in range(len(uptimes))]
    assert all(earlier <= later for earlier, later in pairwise(delays))
    assert all(FIRST_DELAY <= delay <= LONGEST_DELAY for delay in delays)


@given(short_uptimes)
def test_a_steady_run_starts_from_the_shortest_delay_again(uptimes: list[float]) -> None:
    assert after(*uptimes, STEADY).delay == FIRST_DELAY


def test_a_process_that_never_was_ready_is_given_up_after_a_few_crashes() -> None:
    assert not after(*[0.1] * (PATIENCE - 1)).hopeless(ever_ready=False)
    assert after(*[0.1] * PATIENCE).hopeless(ever_ready=False)


def test_a_process_that_was_ready_once_is_never_given_up() -> None:
    assert not after(*[0.1] * 100).hopeless(ever_ready=True)
