"""The annotation decides what a handler gets, and data that is something else fails once for all."""

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from trilho.events.event import BINARY, JSON, Event, StoredEvent
from trilho.events.reading import DoesNotFit, Reading


class Order(BaseModel):
    n: int


EVENT = StoredEvent("t", 0, 0, "id", b"k", "t", datetime(2026, 1, 1, tzinfo=timezone.utc), "{}", b"", JSON)
FITS: list[tuple[Any, bytes, str, Any]] = [
    (bytes, b'{"n": 1}', JSON, b'{"n": 1}'),
    (list[bytes], b"[1]", JSON, b"[1]"),
    (bytes, b"\xff", BINARY, b"\xff"),
    (dict, b'{"n": 1}', JSON, {"n": 1}),
    (dict[str, int], b'{"n": 1}', JSON, {"n": 1}),
    (list[dict[str, int]], b'{"n": 1}', JSON, {"n": 1}),
    (None, b'{"n": 1}', JSON, {"n": 1}),
    (Order, b'{"n": 1}', JSON, Order(n=1)),
    (Any, b"[1]", JSON, [1]),
    (Any, b"\xff", BINARY, b"\xff"),
]


@pytest.mark.parametrize(("annotation", "data", "kind", "wanted"), FITS)
def test_handler_gets_what_it_is_annotated_with(annotation: Any, data: bytes, kind: str, wanted: Any) -> None:
    assert Reading.of(annotation)(replace(EVENT, data=data, content_type=kind)) == wanted


def test_envelope_has_what_it_is_annotated_with() -> None:
    event = replace(EVENT, data=b"[1]")
    assert Reading.of(Event[bytes])(event).data == b"[1]"
    assert Reading.of(list[Event[Any]])(event).data == [1]
    assert Reading.of(Event)(event).data == [1]


@pytest.mark.parametrize("annotation", [dict, dict[str, Any], list[dict[str, Any]], Event[dict[str, Any]], None, Order])
@pytest.mark.parametrize(("data", "kind"), [(b"[1]", JSON), (b"null", JSON), (b"{", JSON), (b'{"n": 1}', BINARY)])
def test_data_that_is_something_else_does_not_fit(annotation: Any, data: bytes, kind: str) -> None:
    with pytest.raises(DoesNotFit):
        Reading.of(annotation)(replace(EVENT, data=data, content_type=kind))
