"""Where things stand on the time axis."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilho.dashboard.axis import MOST_TICKS, Axis, duration
from trilho.dashboard.operation import Span

START = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def span(start: float, end: float | None) -> Span:
    return Span(label="x", state="x", tone="ok", start=at(start), end=None if end is None else at(end))


def test_bars_stand_where_they_belong() -> None:
    axis = Axis(START, 10)
    assert (axis.bar(span(5, 7.5)).left, axis.bar(span(5, 7.5)).width) == (50, 25)
    assert axis.bar(span(5, 5)).width == 0
    assert axis.bar(span(5, None)).width == 50


@given(st.floats(0.001, 1e7), st.floats(0, 1), st.floats(0, 1))
def test_no_bar_is_invisible_or_leaves_the_axis(seconds: float, one: float, other: float) -> None:
    axis = Axis(START, seconds)
    begin, end = sorted((one * seconds, other * seconds))
    bar = axis.bar(span(begin, end))
    assert bar.width > 0 or bar.span.end == bar.span.start
    assert 0 <= bar.left <= bar.left + bar.width <= 100.001


@given(st.floats(0.001, 1e8))
def test_ticks_are_few_ordered_and_on_the_axis(seconds: float) -> None:
    ticks = list(Axis(START, seconds).ticks())
    assert 1 <= len(ticks) <= MOST_TICKS + 1 or seconds > MOST_TICKS * 604800
    assert [tick.left for tick in ticks] == sorted(tick.left for tick in ticks)
    assert 0 <= ticks[0].left <= ticks[-1].left <= 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.0123, "12.3 ms"),
        (1.5, "1.5 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (3599.9, "1 h"),
        (7500, "2 h 5 min"),
        (86399.9, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
