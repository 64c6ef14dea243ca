"""Tables, as pipes and terminals get them."""

import sys
import time

import pytest

from trilho.cli.output import print_table


def test_a_pipe_gets_each_row_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "what"), [("a", "日本"), ("日本", "two\nlines \x1b[31m\ud800" + "x" * 300), (None, None)])
    told = capsys.readouterr().out.split("\n")
    assert told == ["ID    WHAT", "a     日本", f"日本  two lines [31m {'x' * 300}", "", ""]


def test_a_terminal_gets_the_last_column_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(("id", "what"), [("order-1", "x" * 40), ("order-2", "")])
    folded = ["order-1  " + "x" * 21, " " * 9 + "x" * 19, "order-2"]
    assert capsys.readouterr().out.splitlines()[1:] == folded


def test_a_table_of_ten_thousand_rows_is_no_wait(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    print_table("abcdefghi", [[f"{row} {column}" * 3 for column in range(9)] for row in range(10_000)])
    assert time.process_time() - began < 2.5
    assert len(capsys.readouterr().out.splitlines()) == 10_001
