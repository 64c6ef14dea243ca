"""The benchmark runs, and says what it has to; how fast anything is, is no test's business."""

import json
import subprocess
import sys
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from bench import depth, rival, table
from bench.apps import ARGUMENT_BYTES, arguments
from bench.figures import Rounds, Summary, quantile
from bench.measure import MEASURES, Measure

ROOT = Path(__file__).parents[2]


def test_arguments_are_as_long_as_those_of_earlier_measurements() -> None:
    sizes = {len(json.dumps(arguments(number), separators=(",", ":"))) for number in (0, 7, 999_999)}
    assert sizes == {ARGUMENT_BYTES}


def test_a_ratio_is_taken_within_a_round() -> None:
    rounds = Rounds()
    for factor in (1.0, 10.0, 0.1):  # a machine that grows faster and slower
        rounds.add("celery", {"drain": 100 * factor})
        rounds.add("trilho", {"drain": 200 * factor})
    assert rounds.ratio("drain") == Summary(2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("better", "ratio", "reached"),
    [("more", 1.0, True), ("more", 0.99, False), ("less", 1.5, False), ("less", 1.0, True)],
)
def test_a_missed_figure_is_called_missed(better: str, ratio: float, reached: bool) -> None:
    measure = Measure("key", "title", "unit", better, asked=1.0)  # type: ignore[arg-type]
    assert measure.reached(ratio) is reached


def test_pgqueuer_is_compared_with_what_is_asked_at_its_defaults() -> None:
    rounds = Rounds()
    rounds.add("trilho", {"drain": 90.0})
    for size, rate in ((10, 100.0), (100, 200.0)):
        rounds.add(rival.stack(size), {"drain": rate})
    default, larger = rival.table(rounds)[2:]
    assert "**missed**" in default
    assert "missed" not in larger


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert quantile([1.0, 2.0], 0.99) == 2.0


def test_numbers_have_three_digits_that_count() -> None:
    assert [table.number(value) for value in (1234.5, 99.96, 9.999, 0.5)] == ["1,234", "100.0", "10.00", "0.50"]


@pytest.mark.parametrize(("query", "state"), [(depth.WAITING, "PENDING"), (depth.FINISHED, "SUCCESS")])
def test_rows_that_are_made_up_are_rows_of_this_schema(database: str, query: LiteralString, state: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(query, {"rows": 10})
        assert connection.execute("SELECT state, count(*) FROM trilho.jobs GROUP BY 1").fetchall() == [(state, 10)]


@pytest.mark.timeout(180)
def test_every_figure_is_printed() -> None:
    command = [sys.executable, "-m", "bench", "--only", "jobs", "--rounds", "1", "--jobs", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    for measure in MEASURES:
        assert any(line.startswith(f"| {measure.title} [{measure.unit}") for line in lines), measure
    for title in ("µs of CPU time per job", "per job"):
        assert any(line.startswith(f"| {title} |") for line in lines), title
