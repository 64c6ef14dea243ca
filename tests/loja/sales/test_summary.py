"""One pass over a file."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from loja.sales.encoding import survey
from loja.sales.errors import EmptyFile, NoUsableRow, OnlyHeader
from loja.sales.files import SalesFile
from loja.sales.rejects import MAX_EXAMPLES
from loja.sales.summary import Summary, summarise

HEADER = b"date,region,product,quantity,unit_price\n"
GOOD = b"2025-01-01,sul,Livro,2,1.50\n"
BAD = b"2025-01-01,nowhere,Livro,2,1.50\n"


def summary_of(content: bytes, reports: list[tuple[int, int, str]] | None = None) -> Summary:
    stream = io.BytesIO(content)
    file = SalesFile("vendas.csv", "uploaded", stream, survey(stream))
    return summarise(file, lambda *report: None if reports is None else reports.append(report))


def test_all_rejects_are_counted_and_the_first_are_kept() -> None:
    summary = summary_of(HEADER + GOOD + BAD * 500)
    assert (summary.rows, summary.accepted, summary.rejects.count) == (501, 1, 500)
    assert summary.rejects.reasons == {"unknown region": 500}
    assert [example.line for example in summary.rejects.examples] == list(range(3, 3 + MAX_EXAMPLES))


def test_progress_never_goes_back_and_ends_at_the_total() -> None:
    reports: list[tuple[int, int, str]] = []
    summary_of(HEADER + GOOD * 3500, reports)
    assert [current for current, _, _ in reports] == [1000, 2000, 3000, 3500]
    assert {total for _, total, _ in reports} == {3500}


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", EmptyFile), (HEADER, OnlyHeader), (HEADER + b"\n\n", OnlyHeader), (HEADER + BAD, NoUsableRow)],
)
def test_a_file_without_a_sale_is_refused(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"vendas\.csv"):
        summary_of(content)


GROWTH = """
import resource, sys
from pathlib import Path
from loja.sales.files import opened
from loja.sales.summary import summarise

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

for num_rows in (20_000, 400_000):
    with opened(Path(sys.argv[1]), "vendas.csv", num_rows, lambda *_: None) as file:
        assert summarise(file, lambda *_: None).rows == num_rows
    print(peak())
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    small, large = (int(line) for line in done.stdout.split())
    assert large - small <= 4, f"20 times the rows took {large - small} MiB more"
