"""What `subscribe` takes: checked where it is said, for a wrong value must not wait for the first event that fails."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from trilho.db.text import is_storable
from trilho.errors import ConfigurationError
from trilho.events.retry import Retry

OnFailure = Literal["dead_letter", "park"]
Start = Literal["earliest", "latest"]
MAX_BATCH = 10_000
MAX_GROUP = 255
OWN = "trilho."
"""Groups that begin so are Trilho's own, as the modules of their handlers are."""

Check: TypeAlias = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and what is."""


def _is_batch(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_BATCH


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


CHECKS: Mapping[str, Check] = {
    "group": (lambda value: is_storable(value, MAX_GROUP), f"a text of 1 to {MAX_GROUP} characters without NUL"),
    "retry": (lambda value: isinstance(value, Retry), "a Retry, such as Retry(attempts=3)"),
    "on_failure": (lambda value: value in get_args(OnFailure), "'dead_letter' or 'park'"),
    "batch": (_is_batch, f"1 to {MAX_BATCH}"),
    "start": (lambda value: value in get_args(Start), "'earliest' or 'latest'"),
    "transactional": (_is_bool, "True or False"),
    "timeline": (lambda value: value is None or _is_bool(value), "True, False or None"),
}


def check(handler: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError, with handler, option, value and what is allowed, for the first that is not."""
    for name, (allowed, wanted) in CHECKS.items():
        if not allowed(options[name]):
            raise ConfigurationError(f"{named(handler)}: {name} must be {wanted}, not {options[name]!r:.80}")
    if options["group"].startswith(OWN) and not str(handler.__module__).startswith(OWN):
        raise ConfigurationError(
            f"{named(handler)}: group must not begin with {OWN!r}, as {options['group']!r} does: these are Trilho's own"
        )


def named(handler: Any) -> str:
    """The handler, for an error."""
    return f"handler {getattr(handler, '__qualname__', None) or repr(handler)[:80]}"
