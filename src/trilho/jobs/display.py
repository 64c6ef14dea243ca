"""Stored values for eyes: whatever was stored, in a form that every writer of JSON takes. Pure."""

import base64
import json
import math
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from trilho.jobs import codec

LEVELS = codec.DEEPEST + 10
"""Levels that are shown, with what is around a value; what lies deeper is a sign only. Pydantic's writers take 255."""
LEFT_OUT = "…"

_WRITTEN_ALIKE = (bool, int, date, time, Decimal, UUID, type(None))  # a datetime is a date


def loaded(text: str | None) -> Any:
    """The value of a stored text as `codec.loads` has it; for a text that it cannot read the most that can be told."""
    for load in (codec.loads, json.loads):  # it may contain a `__type__` that kombu does not know
        try:
            return load(text)  # type: ignore[arg-type]
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            continue
    return text


def displayable(value: Any, levels: int = LEVELS) -> Any:
    """The value of plain parts, dates, numbers and UUIDs; halves of surrogate pairs are written out."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict | list | tuple):
        return _parts(value, levels - 1) if levels else LEFT_OUT
    if isinstance(value, float):
        return value if math.isfinite(value) else json.dumps(value)
    if isinstance(value, bytes):
        return _of_bytes(value)
    return value if isinstance(value, _WRITTEN_ALIKE) else displayable(str(value))


def _parts(value: Any, levels: int) -> Any:
    if isinstance(value, dict):
        return {displayable(str(name)): displayable(part, levels) for name, part in value.items()}
    return [displayable(part, levels) for part in value]


def _of_bytes(value: bytes) -> Any:
    """As text; what is none as it is stored."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}
