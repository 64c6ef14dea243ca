"""Log files: ends, followers, bounds."""

import io
from pathlib import Path

import pytest

from trilho.cli import logs
from trilho.cli.logs import Follower
from trilho.cli.terminal import Terminal


@pytest.fixture
def log(tmp_path: Path) -> Path:
    logs.folder(tmp_path).mkdir()
    path = logs.path_of(tmp_path, "worker")
    path.touch()
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_tail_is_the_last_lines(log: Path) -> None:
    append(log, "one\ntwo\nthree\n")
    assert logs.tail(log, 2) == ["two", "three"]
    assert logs.tail(log, 0) == []


def test_tail_of_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert logs.tail(tmp_path / "none.log", 5) == []


def test_follower_gives_whole_lines_once(log: Path) -> None:
    append(log, "before\n")
    follower = Follower(log)
    append(log, "one\ntw")
    assert follower.lines() == ["one"]
    assert follower.lines() == []
    append(log, "o\n")
    assert follower.lines() == ["two"]


def test_follower_survives_bytes_that_are_not_text(log: Path) -> None:
    follower = Follower(log)
    log.write_bytes(b"\xff\xfe\n")
    assert len(follower.lines()) == 1


def test_a_log_that_grew_too_large_moves_aside_while_its_writer_goes_on(log: Path) -> None:
    with log.open("a") as writer:
        writer.write("long ago\n")
        writer.flush()
        follower = Follower(log)
        logs.bound(log, largest=4)
        writer.write("now\n")
        writer.flush()
    assert log.read_text() == "now\n"
    assert log.with_suffix(".log.1").read_text() == "long ago\n"
    assert follower.lines() == ["now"]


def test_a_small_log_stays(log: Path) -> None:
    append(log, "one\n")
    logs.bound(log, largest=4)
    assert log.read_text() == "one\n"


def test_the_logs_of_the_run_before_are_kept_apart(tmp_path: Path, log: Path) -> None:
    append(log, "yesterday\n")
    logs.set_aside(tmp_path)
    assert logs.names(tmp_path) == []
    assert log.with_suffix(".log.1").read_text() == "yesterday\n"


def test_each_line_stands_behind_the_name_of_its_process() -> None:
    stream = io.StringIO()
    Terminal(stream).show("worker-2", ["one", "two"])
    assert stream.getvalue() == "worker-2   | one\nworker-2   | two\n"


def test_a_closed_terminal_is_no_error() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    stream.close()
    terminal.show("worker", ["one"])
    terminal.show("worker", ["two"])
