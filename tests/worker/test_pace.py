"""How many jobs share a slice, and how many are held."""

from hypothesis import given
from hypothesis import strategies as st

from trilho.jobs.tally import SLICE
from trilho.worker.pace import AHEAD, MOST, Pace

durations = st.lists(st.lists(st.floats(0.0, 1000.0), max_size=MOST), max_size=50)


def paced(*seconds: float, times: int = 60) -> Pace:
    pace = Pace()
    for _ in range(times):
        pace.measured(seconds)
    return pace


def test_nothing_is_shared_before_anything_is_known() -> None:
    assert (Pace().share(), Pace().ahead()) == (1, 1)


def test_short_jobs_share_a_slice_and_long_ones_do_not() -> None:
    assert paced(0.0001).share() == MOST
    assert 8 <= paced(0.001).share() <= 10
    assert paced(2.0).share() == 1


def test_no_more_is_held_than_can_begin_soon() -> None:
    assert paced(2.0).ahead() == 1
    assert paced(0.03).ahead() == AHEAD
    assert MOST < paced(0.0).ahead() <= 2 * MOST


def test_one_long_job_among_many_short_ones_is_soon_forgotten() -> None:
    pace = paced(0.0001)
    pace.measured([*([0.0001] * 20), 600.0])
    for _ in range(10):
        pace.measured([0.0001] * 5)
    assert pace.share() > MOST // 2


@given(durations)
def test_bounds_hold_whatever_is_measured(slices: list[list[float]]) -> None:
    pace = Pace()
    for seconds in slices:
        pace.measured(seconds)
    assert 1 <= pace.share() <= MOST
    assert 1 <= pace.ahead() <= 2 * MOST
    assert pace.share() * pace.average <= SLICE or pace.share() == 1 or pace.average <= SLICE / MOST
