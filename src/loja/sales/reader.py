"""A file's rows as a stream of sales and rejects; memory does not grow with the file."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from loja.sales.encoding import Survey
from loja.sales.errors import EmptyFile, NotSales
from loja.sales.sale import RowError, Sale, parse

COLUMNS = ("date", "region", "product", "quantity", "unit_price")
DELIMITERS = (",", ";", "\t")
MAX_LINE = 1 << 16

_ALIASES = {
    "data": "date",
    "regiao": "region",
    "região": "region",
    "produto": "product",
    "quantidade": "quantity",
    "price": "unit_price",
    "preco": "unit_price",
    "preço": "unit_price",
    "preco_unitario": "unit_price",
    "preço_unitário": "unit_price",
}


class Reject(NamedTuple):
    """A row that is no sale."""

    line: int
    reason: str
    value: str


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line tells: how columns are separated, and which is where."""

    delimiter: str
    width: int
    indices: tuple[int, ...]


class SalesReader:
    """Iterates over the rows of one open sales file."""

    def __init__(self, name: str, stream: BinaryIO, survey: Survey) -> None:
        """Read the header; raises EmptyFile or NotSales."""
        self._name = name
        self._text = io.TextIOWrapper(stream, encoding=survey.encoding, newline="")
        self._lines = self._bounded_lines()
        first = next(self._lines, "")
        if not first:
            raise EmptyFile(f"{name} is empty: a header and at least one row are expected")
        self.header = find_header(name, first)

    def __iter__(self) -> Iterator[Sale | Reject]:
        """One Sale or Reject per row, blank lines left out; raises NotSales for a line without end."""
        rows = csv.reader(self._lines, delimiter=self.header.delimiter, strict=True)
        columns, width, line = itemgetter(*self.header.indices), self.header.width, 2
        while True:
            try:
                row = next(rows)
                if row:
                    yield parse(*columns(row)) if len(row) == width else _wrong_width(line, row, width)
            except StopIteration:
                return
            except RowError as wrong:
                yield Reject(line, wrong.reason, wrong.value)
            except csv.Error as wrong:
                yield Reject(line, "unreadable", str(wrong))
            line = rows.line_num + 2

    def _bounded_lines(self) -> Iterator[str]:
        number = 0
        try:
            while line := self._text.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and line[-1] not in "\r\n":
                    raise NotSales(f"line {number:,} of {self._name} is longer than {MAX_LINE:,} characters")
                yield line
        except UnicodeDecodeError as wrong:
            raise NotSales(f"{self._name} is damaged after line {number:,}: {wrong}") from None


def find_header(name: str, line: str) -> Header:
    """The header in this line, whichever delimiter it uses; raises NotSales."""
    for delimiter in DELIMITERS:
        titles = _titles(line, delimiter)
        if set(COLUMNS) <= set(titles):
            return Header(delimiter, len(titles), tuple(titles.index(column) for column in COLUMNS))
    raise NotSales(
        f"{name} is not a sales CSV: its first line must name the columns {', '.join(COLUMNS)}, "
        f"separated by comma, semicolon or tab; found {_shown(line)}"
    )


def _titles(line: str, delimiter: str) -> list[str]:
    try:
        titles = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
    plain = ("_".join(title.casefold().split()) for title in titles)
    return [_ALIASES.get(title, title) for title in plain]


def _wrong_width(line: int, row: list[str], width: int) -> Reject:
    return Reject(line, "wrong number of columns", f"{len(row)} instead of {width}")


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 80 else text[:80] + "…")
