"""Stored values for eyes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.jobs.test_codec import rich
from trilho.jobs import codec
from trilho.jobs.display import displayable, loaded

text = st.text(st.characters(codec=None))
leaves = rich | st.floats() | text | st.fixed_dictionaries({"__type__": text, "__value__": text})
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


class Answer(BaseModel):
    value: Any


@given(values)
def test_whatever_can_be_stored_can_be_shown(value: Any) -> None:
    shown = displayable(loaded(codec.dumps(value)))
    Answer(value=shown).model_dump_json()
    json.dumps(shown, default=str, ensure_ascii=False, allow_nan=False).encode()


@given(st.integers(1, 9_000))
def test_no_depth_is_too_much(levels: int) -> None:
    Answer(value=displayable(loaded("[" * levels + "]" * levels))).model_dump_json()


def test_what_json_knows_is_shown_as_it_is() -> None:
    value = {"list": [1, 2.5, None, True, "é\x00"], "deep": {"": []}}
    assert displayable(loaded(json.dumps(value))) == value
