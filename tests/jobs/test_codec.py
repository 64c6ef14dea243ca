"""JSON of arguments and results."""

import dataclasses
import decimal
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from trilho import PayloadTooLarge
from trilho.jobs import codec


class Line(BaseModel):
    sku: str
    price: decimal.Decimal
    at: datetime | None = None


@dataclasses.dataclass(frozen=True)
class Cart:
    owner: str
    lines: list[Line]
    opened: date


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
rich = (
    plain
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
)
values = st.recursive(rich, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
lines = st.builds(Line, sku=st.text(), price=st.decimals(allow_nan=False, allow_infinity=False), at=st.none())
carts = st.builds(Cart, owner=st.text(), lines=st.lists(lines, max_size=3), opened=st.dates())


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value


@given(values)
def test_text_is_plain_ascii(value: Any) -> None:
    text = codec.dumps(value)
    assert text.isascii()
    assert "\x00" not in text


@given(cart=carts, others=st.lists(lines, max_size=3), maybe=st.none() | lines)
def test_models_and_dataclasses_come_back_by_annotation(cart: Cart, others: list[Line], maybe: Line | None) -> None:
    def body(self: Any, cart: Cart, others: list[Line], *, maybe: Line | None = None, number: int = 0) -> None: ...

    decode = codec.decoder_for(body, skip_first=True)
    assert decode is not None
    args, kwargs = codec.loads(codec.dumps([cart, others])), codec.loads(codec.dumps({"maybe": maybe, "number": 5}))
    assert decode(args, kwargs) == ([cart, others], {"maybe": maybe, "number": 5})


def test_function_without_rich_annotations_has_no_decoder() -> None:
    def body(x: int, y: "list[str]", *z: Any, **more: Any) -> None: ...

    assert codec.decoder_for(body, skip_first=False) is None


def test_annotations_that_only_a_type_checker_knows_are_left_alone() -> None:
    def body(x: "Unknown") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert codec.decoder_for(body, skip_first=False) is None


def test_surplus_arguments_are_left_to_the_body() -> None:
    def body(line: Line, *more: Any) -> None: ...

    decode = codec.decoder_for(body, skip_first=False)
    assert decode is not None
    line = Line(sku="a", price=decimal.Decimal(1))
    assert decode([line.model_dump(mode="json"), 1, 2], {}) == ([line, 1, 2], {})


@given(args=st.lists(values, max_size=3), size=st.integers(1, 200))
def test_limit_is_exact(args: list[Any], size: int) -> None:
    needed = len(codec.dumps(args)) + len("{}")
    codec.dump_arguments("work", args, {}, needed)
    with pytest.raises(PayloadTooLarge):
        codec.dump_arguments("work", args, {}, needed - 1)


@given(st.text(max_size=300_000))
def test_shortened_text_is_bounded(text: str) -> None:
    assert len(codec.shortened(text)) <= codec.MAX_ERROR + 3
    assert codec.shortened(text[: codec.MAX_ERROR]) == text[: codec.MAX_ERROR]


@pytest.mark.parametrize(
    "text", ['"\\ud800"', "[" * 300 + "]" * 300, "NaN", "1e400", "-0.0", "1" * 50, '{"a":1,"a":2}']
)
def test_what_is_read_is_what_python_reads(text: str) -> None:
    assert repr(codec.loads(text)) == repr(json.loads(text))


def nested(levels: int) -> Any:
    value: Any = "\\[\ud83d"
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_that_a_reader_may_not_take_is_refused() -> None:
    args, _ = codec.dump_arguments("work", [nested(codec.DEEPEST - 1), [], {}], {}, 10_000)
    assert codec.loads(args)[1:] == [[], {}]
    codec.dump_arguments("work", [[]] * 1_000, {"\ud800": [float("nan"), "[" * 1_000]}, 10_000)
    for levels in (codec.DEEPEST, 960, 20_000):
        with pytest.raises(TypeError, match=r"argument.* work cannot be stored"):
            codec.dump_arguments("work", [], {"x": nested(levels)}, 100_000)
