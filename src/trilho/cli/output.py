"""What commands print: JSON, tables, and one line for an error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table


def print_json(data: Any) -> None:
    """Print data as indented JSON; what JSON does not know is printed as text."""
    print(json.dumps(data, indent=2, default=str, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table without frames; a pipe gets full lines, a terminal gets them folded to its width."""
    table = Table(*[header.upper() for header in headers], box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*["" if cell is None else str(cell) for cell in row])
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table, width=None if console.is_terminal else 10_000, soft_wrap=not console.is_terminal)


def fail(message: object) -> NoReturn:
    """Print one line to standard error and exit with code 1."""
    text = " ".join(str(message).split())
    print(f"trilho: {text}", file=sys.stderr)
    raise SystemExit(1)
