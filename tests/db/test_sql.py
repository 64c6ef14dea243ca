"""Named queries."""

import re
from pathlib import Path

import pytest

import trilho
from trilho.db import sql

SOURCE = Path(trilho.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.sql") if "migrations" not in path.parts)


def test_queries_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "some.sql"
    path.write_text("-- a head\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT %(x)s;\n")
    assert dict(sql.load(path)) == {"one": "SELECT 1;", "two": "-- why\nSELECT %(x)s;"}


def test_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.sql"
    path.write_text("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")
    with pytest.raises(ValueError, match="twice"):
        sql.load(path)


def test_parameters_are_rewritten_for_sqlalchemy() -> None:
    assert sql.for_sqlalchemy("SELECT %(a)s, CAST(%(b_2)s AS json)") == "SELECT :a, CAST(:b_2 AS json)"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_query_is_used(path: Path) -> None:
    code = "".join(module.read_text() for module in SOURCE.rglob("*.py"))
    unused = [name for name in sql.load(path) if not re.search(rf"[\"']{name}[\"']", code)]
    assert unused == []
