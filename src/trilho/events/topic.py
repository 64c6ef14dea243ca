"""Topics: names that Kafka takes too, and what an application declares about them."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trilho.errors import EventSchemaError

PARTITIONS = 6
RETENTION = timedelta(days=7)

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
        if self.partitions < 1:
            raise ValueError(f"topic {self.name!r} needs at least one partition, not {self.partitions}")

    @property
    def retention_seconds(self) -> float | None:
        """How long its events are kept; None is for ever."""
        return None if self.retention is None else self.retention.total_seconds()

    def checked(self, data: Any) -> Any:
        """The data as the schema has it; raises EventSchemaError that names the field."""
        if self.schema is None:
            return data
        try:
            return TypeAdapter(self.schema).validate_python(data, from_attributes=True)
        except ValidationError as error:
            raise EventSchemaError(self.name, _fields(error)) from error


def check_name(name: str) -> str:
    """The name; raises ValueError for one that Kafka would refuse."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            f"{name[:80]!r} is no topic name: 1 to 249 letters, digits and . _ - are allowed, and not `.` or `..` alone"
        )
    return name


def _fields(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'data'}: {item['msg']}" for item in error.errors())
