"""Texts of arguments are Celery's own, whoever makes them."""

from typing import Any

from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from trilho.jobs.reprs import LEVELS, plain_repr

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary() | st.datetimes()
values = st.recursive(
    leaves,
    lambda parts: (
        st.lists(parts, max_size=4) | st.tuples(parts) | st.tuples(parts, parts) | st.dictionaries(st.text(), parts)
    ),
    max_leaves=12,
)


@given(values, st.sampled_from([20, 1024]))
def test_text_is_celerys(value: Any, longest: int) -> None:
    text = plain_repr(value, longest)
    assert text is None or text == saferepr(value, longest, maxlevels=LEVELS)


def test_usual_arguments_are_plain() -> None:
    assert plain_repr(("order-1", {"email": "ana@example.com", "name": "Antônia", "items": [1, 2.5, None]}), 1024)
    assert plain_repr({}, 1024) == "{}"
