"""Celery's request of an attempt."""

from typing import Any

from celery.app.task import Context
from hypothesis import given
from hypothesis import strategies as st

from trilho.jobs import codec
from trilho.jobs.job import Claimed
from trilho.jobs.request import request_of

names = st.text(max_size=5) | st.sampled_from(["origin", "argsrepr", "stamps", "trilho_trace", "compression", "shadow"])


@given(st.dictionaries(names, st.text(max_size=5)))
def test_the_bodys_headers_are_those_that_celery_would_have_gathered(headers: dict[str, Any]) -> None:
    values = dict.fromkeys(Claimed._fields) | {"id": "1", "task": "shop.pay", "queue": "celery", "args": "[]"}
    values |= {"kwargs": "{}", "attempt": 1, "retries": 0, "priority": 0, "headers": codec.dumps(headers)}
    request = request_of(Claimed(**values), "worker@host")
    known = {name: value for name, value in request.items() if name != "headers"}
    assert Context(request).headers == Context(known).headers
