"""The tree of causes, whatever the causes say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trilho.dashboard.tree import Node, flattened

START = datetime(2026, 11, 22, tzinfo=UTC)


def node(name: int, at: float, *causes: int) -> Node[int]:
    return Node(("n", str(name)), START + timedelta(seconds=at), tuple(("n", str(cause)) for cause in causes), name)


def test_what_was_caused_stands_under_its_cause_and_sisters_by_time() -> None:
    nodes = [node(4, 4, 2), node(3, 1, 1), node(2, 2, 1), node(1, 3)]
    assert flattened(nodes) == [(0, 1), (1, 3), (1, 2), (2, 4)]


def test_the_nearest_cause_that_is_known_counts() -> None:
    assert flattened([node(1, 0), node(2, 1, 1), node(3, 2, 99, 2, 1)]) == [(0, 1), (1, 2), (2, 3)]


def test_a_note_that_was_written_twice_is_one_entry() -> None:
    assert flattened([node(1, 0), node(1, 5)]) == [(0, 1)]


def test_a_long_chain_of_causes_is_no_deep_recursion() -> None:
    rows = flattened([node(0, 0), *(node(n, n, n - 1) for n in range(1, 5000))])
    assert rows[-1] == (4999, 4999)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.lists(st.integers(0, 25), max_size=3)), max_size=30)
)
def test_every_node_stands_there_once_even_in_circles(raw: Sequence[tuple[int, int, list[int]]]) -> None:
    rows = flattened([node(name, at, *causes) for name, at, causes in raw])
    assert sorted(name for _, name in rows) == sorted({name for name, _, _ in raw})
    depths = [depth for depth, _ in rows]
    assert all(after <= before + 1 for before, after in pairwise(depths))
    assert not depths or depths[0] == 0
