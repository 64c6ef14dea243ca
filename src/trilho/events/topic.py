"""Topics: names that Kafka takes too, and what an application declares about them."""

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trilho.errors import EventSchemaError

PARTITIONS = 6
RETENTION = timedelta(days=7)
MAX_PARTITIONS = 1_000
MAX_DAYS = 36_500

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True)
class Topic:
    """A declared topic: partitions may grow later, data has to fit `schema`, `retention` None is for ever."""

    name: str
    partitions: int = PARTITIONS
    retention: timedelta | None = RETENTION
    schema: Any = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if type(self.partitions) is not int or not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ValueError(
                f"topic {self.name!r}: partitions must be 1 to {MAX_PARTITIONS}, not {self.partitions!r:.80}"
            )
        if self.retention is not None and not _keeps(self.retention):
            raise ValueError(
                f"topic {self.name!r}: retention must be None, for ever, or a timedelta above 0 and up to {MAX_DAYS} "
                f"days, not {self.retention!r:.80}"
            )
        if self.schema is not None:
            _ = self._adapter

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        wrong = f"topic {self.name!r}: schema must be a type that Pydantic validates, not {self.schema!r:.80}"
        if isinstance(self.schema, str):
            raise ValueError(wrong)
        try:
            return TypeAdapter(self.schema)
        except Exception as error:  # Pydantic raises many, even KeyError
            raise ValueError(wrong) from error

    @property
    def retention_seconds(self) -> float | None:
        """How long its events are kept; None is for ever."""
        return None if self.retention is None else self.retention.total_seconds()

    def checked(self, data: Any) -> Any:
        """The data as the schema has it; raises EventSchemaError that names the field."""
        if self.schema is None:
            return data
        try:
            return self._adapter.validate_python(data, from_attributes=True)
        except ValidationError as error:
            raise EventSchemaError(self.name, _fields(error)) from error


def check_name(name: str) -> str:
    """The name; raises ValueError for one that Kafka would refuse."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in {".", ".."}:
        shown = name[:80] if isinstance(name, str) else name
        raise ValueError(
            f"{shown!r} is no topic name: 1 to 249 letters, digits and . _ - are allowed, and not `.` or `..` alone"
        )
    return name


def kept(days: float | None) -> timedelta | None:
    """The retention of so many days; raises ValueError for what is none, and above 36,500."""
    if days is not None and not 0 < days <= MAX_DAYS:
        raise ValueError(f"events are kept for more than 0 and up to {MAX_DAYS} days, not {days:g}")
    return None if days is None else timedelta(days=days)


def _keeps(retention: object) -> bool:
    return isinstance(retention, timedelta) and timedelta(0) < retention <= timedelta(days=MAX_DAYS)


def _fields(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'data'}: {item['msg']}" for item in error.errors())
