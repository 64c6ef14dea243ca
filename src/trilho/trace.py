"""What a piece of work belongs to and what caused it: handed from request to job to event, as context."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """Ids of the whole operation and of its direct cause; `traceparent` as in W3C Trace Context."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


NONE = Trace()
_current: ContextVar[Trace] = ContextVar("trilho_trace", default=NONE)


def current() -> Trace:
    """The trace of the caller; empty outside of any operation."""
    return _current.get()


@contextmanager
def entered(trace: Trace) -> Iterator[None]:
    """Make `trace` the current one."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)
