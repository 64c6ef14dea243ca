"""One pass over a sales file."""

from collections.abc import Callable
from dataclasses import dataclass, field

from loja.sales.errors import NoUsableRow, OnlyHeader
from loja.sales.files import SalesFile
from loja.sales.reader import Reject, SalesReader
from loja.sales.rejects import Rejects
from loja.sales.totals import Totals

REPORT_EVERY = 1000


@dataclass(slots=True)
class Summary:
    """What one file holds."""

    delimiter: str
    encoding: str
    rows: int = 0
    totals: Totals = field(default_factory=Totals)
    rejects: Rejects = field(default_factory=Rejects)

    @property
    def accepted(self) -> int:
        """Number of rows that are sales."""
        return self.rows - self.rejects.count


def summarise(file: SalesFile, report: Callable[[int, int, str], None]) -> Summary:
    """Sum the file's sales, and collect its rejects; raises SalesFileError if there is no sale in it."""
    reader = SalesReader(file.name, file.stream, file.survey)
    summary = Summary(reader.header.delimiter, file.survey.encoding)
    for row in reader:
        if isinstance(row, Reject):
            summary.rejects.add(row)
        else:
            summary.totals.add(row)
        summary.rows += 1
        if summary.rows % REPORT_EVERY == 0:
            _report(summary, file, report)
    _check(summary, file.name)
    _report(summary, file, report)
    return summary


def _report(summary: Summary, file: SalesFile, report: Callable[[int, int, str], None]) -> None:
    total = max(file.survey.newlines - 1, summary.rows)
    done = f"read {summary.rows:,} of {total:,} rows of {file.name}"
    report(summary.rows, total, f"{done}, {summary.rejects.count:,} rejected")


def _check(summary: Summary, name: str) -> None:
    if not summary.rows:
        raise OnlyHeader(f"{name} has a header but no rows")
    if not summary.accepted:
        first = summary.rejects.examples[0]
        raise NoUsableRow(
            f"none of the {summary.rows:,} rows of {name} can be used; "
            f"the first: line {first.line}, {first.reason}, {first.value!r}"
        )
