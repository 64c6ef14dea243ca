"""Wait for a claim to come true, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    look: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    timeout: float = 15.0,
    every: float = 0.05,
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """The first value of `look()` that `until` accepts; AssertionError with the last one after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    last: object = "nothing"
    while True:
        try:
            value = look()
            if until(value):
                return value
            last = value
        except ignoring as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s; last seen: {last!r}")
        time.sleep(every)


def always(look: Callable[[], T], until: Callable[[T], object], *, seconds: float, every: float = 0.1) -> None:
    """AssertionError as soon as `until` rejects a value of `look()` within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = look()
        if not until(value):
            raise AssertionError(f"stopped being true within {seconds:g} s: {value!r}")
        time.sleep(every)
