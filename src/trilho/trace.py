"""What a piece of work belongs to and what caused it: handed from request to job to event, as context."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Effects:
    """Whether a piece of work brought anything about; shared by all threads that do it."""

    any: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """Ids of the whole operation and of its direct cause; `traceparent` as in W3C Trace Context."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    via: str | None = None  # the consumer group whose handler runs, where the cause is an event
    effects: Effects | None = field(default=None, compare=False, repr=False)


NONE = Trace()
_current: ContextVar[Trace | Callable[[], Trace]] = ContextVar("trilho_trace", default=NONE)


def current() -> Trace:
    """The trace of the caller; empty outside of any operation."""
    found = _current.get()
    return found if isinstance(found, Trace) else found()


def had_effect() -> None:
    """Tell whoever follows the caller that something was enqueued or published, and is durable."""
    effects = current().effects
    if effects is not None:
        effects.any = True


@contextmanager
def entered(trace: Trace | Callable[[], Trace]) -> Iterator[None]:
    """Make `trace` the current one; a function is asked whenever somebody wants to know."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)
