"""What commands print: JSON, tables, and one line for an error."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from trilho.jobs.display import displayable

T = TypeVar("T")
PIPE_WIDTH = 10_000


def print_json(data: Any) -> None:
    """Print data as indented JSON; what JSON does not know is printed as text."""
    typer.echo(json.dumps(displayable(data), indent=2, default=str, ensure_ascii=False))


def columns_of(item: Any) -> dict[str, Any]:
    """The fields of a dataclass; their values are not copied, however deep they are nested."""
    return {field.name: getattr(item, field.name) for field in fields(item)}


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table without frames; on a terminal the last column is folded to its width, a pipe gets full lines."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header.upper(), no_wrap=header != headers[-1], overflow="fold")
    for row in rows:
        table.add_row(*["" if cell is None else str(cell) for cell in row])
    console.print(table)


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
