"""Payloads for eyes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilho.dashboard.masking import LONGEST, MASK, masked, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


SECRETS = (
    "password", "db_passwd", "apiKey", "API_KEY", "Authorization", "card", "card_number", "creditCard", "accessToken",
    "client-secret", "cvv", "Set-Cookie", "pin",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_values_of_secret_names_are_masked(name: str) -> None:
    assert json.loads(shown(json.dumps({"deep": [{name: "4111"}]}))) == {"deep": [{name: MASK}]}


@pytest.mark.parametrize("name", ["order_id", "total", "shipping", "spinning", "key", "author", "discard"])
def test_other_names_are_shown(name: str) -> None:
    assert json.loads(shown(json.dumps({name: "4111"}))) == {name: "4111"}


def test_passwords_in_urls_are_masked_in_any_text() -> None:
    assert "hunter2" not in shown('["postgresql://user:hunter2@host/db"]')
    assert "hunter2" not in shown("OperationalError: amqp://user:hunter2@host is away")


def test_half_of_a_surrogate_pair_is_written_out() -> None:
    assert json.loads(shown('["\\ud800"]')) == [r"\ud800"]


@pytest.mark.parametrize("depth", [500, 9_000])
def test_no_depth_hides_a_secret_from_the_mask(depth: int) -> None:
    assert "4111" not in shown('{"card": "4111", "x": ' + "[" * depth + '{"pin": "4111"}' + "]" * depth + "}")


@given(JSON)
def test_masking_keeps_the_shape_and_the_text_stays_short(value: object) -> None:
    assert len(shown(json.dumps(value))) <= LONGEST + 1
    if isinstance(value, dict):
        assert masked(value).keys() == value.keys()
