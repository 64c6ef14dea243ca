"""Values on the command line: JSON that is given, and text for what is shown."""

import json
import math
from datetime import datetime
from typing import Any

from trilho.cli.output import fail
from trilho.jobs.display import displayable


def parsed(option: str, text: str, kind: type = object) -> Any:
    """The JSON value of an option; ends the program where it is none, or not a `list` or `dict` as wanted."""
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        fail(f"{option} is not JSON: {error}")
    if not isinstance(value, kind):
        fail(f"{option} must be a JSON {'list' if kind is list else 'object'}, not {text}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has no such number as {text}")
    return number


def text_of(value: Any) -> str:
    """A value as people read it: text as it is, times to the second, all else as JSON."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S %Z}"
    shown = displayable(value)
    return shown if isinstance(shown, str) else json.dumps(shown, default=str, ensure_ascii=False)
