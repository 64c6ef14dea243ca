"""Which of Celery's events tells what a row says."""

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, Retry

from trilho.jobs.runner import Ran
from trilho.worker.request import event_of


def ran(state: str, error: BaseException | None = None, value: Any = None) -> Ran:
    info = SimpleNamespace(exception=error, traceback="Traceback …") if error is not None else value
    return Ran("celery", error is not None, info, 0.5, state)


@pytest.mark.parametrize(
    ("ended", "kind", "told"),
    [
        (ran("SUCCESS", value="3"), "task-succeeded", {"result": "3", "runtime": 0.5}),
        (ran("SUCCESS", Ignore()), "task-succeeded", {"result": "None", "runtime": 0.5}),
        (
            ran("FAILURE", ValueError("x")),
            "task-failed",
            {"exception": "ValueError('x')", "traceback": "Traceback …"},
        ),
        (
            ran("FAILURE", ExceptionWithTraceback(ValueError("x"), None)),
            "task-failed",
            {"exception": "ValueError('x')", "traceback": "Traceback …"},
        ),
        (ran("FAILURE", value="the commit failed"), "task-failed", {"exception": "the commit failed", "traceback": ""}),
        (
            ran("RETRY", Retry(exc=OSError("busy"), when=1)),
            "task-retried",
            {"exception": "OSError('busy')", "traceback": "Traceback …"},
        ),
        (ran("PENDING", value="a deadlock"), "task-retried", {"exception": "a deadlock", "traceback": ""}),
    ],
)
def test_event_says_what_the_row_says(ended: Ran, kind: str, told: dict[str, Any]) -> None:
    assert event_of(ended) == (kind, told)
