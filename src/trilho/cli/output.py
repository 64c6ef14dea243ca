"""What commands print: JSON, tables, and one line for an error."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from shutil import get_terminal_size
from typing import Any, NoReturn, TypeVar

import typer
from rich.cells import cell_len, chop_cells

from trilho.jobs.display import displayable

T = TypeVar("T")
GAP = "  "
NARROWEST, PIPE_WIDTH = 20, 10_000
"""Of the last column, in characters."""


def print_json(data: Any) -> None:
    """Print data as indented JSON; what JSON does not know is printed as text."""
    typer.echo(json.dumps(displayable(data), indent=2, default=str, ensure_ascii=False))


def print_line(label: str, text: str) -> None:
    """Print one line of what is told about one thing."""
    typer.echo(f"{label:<19} {text}")


def columns_of(item: Any) -> dict[str, Any]:
    """The fields of a dataclass; their values are not copied, however deep they are nested."""
    return {field.name: getattr(item, field.name) for field in fields(item)}


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table without frames; on a terminal the last column is folded to its width, a pipe gets full lines."""
    table = [[header.upper() for header in headers], *(list(map(_cell, row)) for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)][:-1]
    margin = sum(widths) + len(GAP) * len(widths)
    room = max(get_terminal_size().columns - margin, NARROWEST) if sys.stdout.isatty() else PIPE_WIDTH
    for number, (*cells, last) in enumerate(table):
        head = "".join(cell + " " * (width - cell_len(cell)) + GAP for cell, width in zip(cells, widths, strict=True))
        line = head + f"\n{' ' * margin}".join(chop_cells(last, room) or [""])
        typer.echo(typer.style(line.rstrip(), bold=True) if number == 0 else line.rstrip())


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if text.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in text).split())


def print_items(
    items: Sequence[T], headers: Sequence[str], cells: Callable[[T], Sequence[Any]], *, as_json: bool
) -> None:
    """Print dataclasses whole as JSON, or some cells of each as a table."""
    if as_json:
        print_json([columns_of(item) for item in items])
    else:
        print_table(headers, map(cells, items))


def fail(message: object) -> NoReturn:
    """Print one line to standard error and exit with code 1."""
    text = " ".join(str(message).split())
    typer.echo(f"trilho: {text}", err=True)
    raise SystemExit(1)
