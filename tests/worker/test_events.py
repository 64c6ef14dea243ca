"""What the dispatcher of task events puts into a message."""

import json
from collections import deque
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from trilho.worker.events import TOGETHER, encoded, taken

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
fields = st.dictionaries(st.text(), plain)


@given(st.lists(fields, min_size=1, max_size=5))
def test_receivers_read_what_kombu_would_have_written(events: list[dict[str, Any]]) -> None:
    body, options = encoded(events, "json")
    assert options["content_type"] == "application/json"
    assert json.loads(body) == json.loads(kombu_json.dumps(events))


@pytest.mark.parametrize(
    ("event", "serializer"),
    [({"when": datetime.now(timezone.utc)}, "json"), ({"args": "\ud800"}, "json"), ({"type": "task-sent"}, "yaml")],
)
def test_what_only_kombu_can_write_is_left_to_it(event: dict[str, Any], serializer: str) -> None:
    assert encoded([event], serializer) == ([event], {"serializer": serializer})


def test_what_waits_goes_out_together_and_in_order() -> None:
    outgoing: deque[tuple[Any, str]] = deque([(n, "task.multi") for n in range(3)])
    outgoing += [("beat", "worker.heartbeat"), (3, "task.multi")]
    messages = [taken(outgoing) for _ in range(3)]
    assert messages == [([0, 1, 2], "task.multi"), ("beat", "worker.heartbeat"), ([3], "task.multi")]


def test_a_message_has_bounds() -> None:
    outgoing: deque[tuple[Any, str]] = deque([(n, "task.multi") for n in range(TOGETHER + 1)])
    assert [len(taken(outgoing)[0]), len(taken(outgoing)[0])] == [TOGETHER, 1]
