"""Exceptions as they are recorded, and back: what the first run raises is what a replay raises."""

import sys
from typing import Any

from trilho.db.text import escaped
from trilho.errors import PermanentError, SagaTimeout
from trilho.jobs import codec
from trilho.jobs.codec import shortened
from trilho.sagas.record import Entry, Failure

REVOKED = "TaskRevokedError"
NEVER_AGAIN = frozenset({"WorkerLostError", "EncodeError", REVOKED})
"""Ends of a job that another attempt would only repeat (a lost worker, a result that cannot be stored), unless it was
its time limit that revoked it."""


def recorded(error: BaseException) -> Failure:
    """The exception as JSON, its arguments as far as JSON knows them."""
    kind = type(error)
    text = escaped(shortened(f"{kind.__name__}: {error}"))
    return Failure(text, {"exc_type": kind.__qualname__, "exc_module": kind.__module__, "exc_message": _words(error)})


def dumped(failure: Failure) -> str:
    """As stored."""
    return codec.dumps(dict(failure.encoded))


def _words(error: BaseException) -> list[Any]:
    try:
        text = codec.dumps(list(error.args))
    except (TypeError, ValueError, RecursionError):
        text = ""
    fits = 0 < len(text) <= codec.MAX_ERROR and text == escaped(text) and "\\u0000" not in text
    return codec.loads(text) if fits else [escaped(shortened(str(error)))]


def rebuilt(entry: Entry) -> Exception:
    """The exception of an entry that failed, of its own class where that can be made from what is recorded."""
    error = exception_of(entry.failure, entry.error or f"{entry.kind} {entry.path} ({entry.name}) failed")
    if entry.timed_out and not isinstance(error, SagaTimeout):
        error = SagaTimeout(entry.error or f"{entry.name} took too long")
    error.add_note(f"in {entry.kind} {entry.path} of the saga: {entry.name}")
    return error


def exception_of(failure: str | None, error: str) -> Exception:
    """The recorded exception; a PermanentError with its text where its class is not to be had here."""
    encoded = codec.loads(failure) if failure else None
    if not isinstance(encoded, dict) or "exc_type" not in encoded:
        return PermanentError(error)
    found: Any = sys.modules.get(str(encoded.get("exc_module")))
    for name in str(encoded["exc_type"]).split("."):
        found = getattr(found, name, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return PermanentError(error)
    told = encoded.get("exc_message")
    words = tuple(told) if isinstance(told, (list, tuple)) else (told,)
    try:
        made = found(*words)
        made.args = words  # a class that makes a text of its argument has made it already
    except Exception:  # a class that cannot be made from its arguments alone
        return PermanentError(error)
    return made


def may_be_repeated(entry: Entry) -> bool:
    """Whether another attempt makes sense, whatever the policy allows."""
    encoded = codec.loads(entry.failure) if entry.failure else None
    kind = encoded.get("exc_type") if isinstance(encoded, dict) else None
    return kind not in NEVER_AGAIN or (entry.timed_out and kind == REVOKED)
