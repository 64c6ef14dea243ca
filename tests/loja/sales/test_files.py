"""Which file a name stands for."""

import os
import time
from pathlib import Path
from threading import Thread
from unicodedata import normalize

import pytest

from loja.sales import files
from loja.sales.files import check_name, opened


def quiet(current: int, total: int, message: str) -> None:
    return


def put(folder: Path, kind: str, name: str, content: bytes) -> None:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / kind / name).write_bytes(content)


def test_a_missing_file_is_made_up_with_the_rows_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path, "vendas.csv", 120, quiet) as file:
        assert (file.origin, file.survey.newlines) == ("generated", 121)
        assert file.stream.read() == (tmp_path / "generated" / "vendas.csv").read_bytes()


def test_an_uploaded_file_wins_over_a_generated_one(tmp_path: Path) -> None:
    put(tmp_path, "generated", "vendas.csv", b"made up\n")
    put(tmp_path, "uploads", "vendas.csv", b"sent\n")
    with opened(tmp_path, "vendas.csv", 120, quiet) as file:
        assert (file.origin, file.stream.read()) == ("uploaded", b"sent\n")


def test_the_same_number_of_rows_uses_the_file_again_and_another_writes_it_anew(tmp_path: Path) -> None:
    written = []
    for num_rows in (100, 100, 200):
        with opened(tmp_path, "vendas.csv", num_rows, quiet) as file:
            written.append((os.fstat(file.stream.fileno()).st_ino, file.survey.newlines))
    assert written[0] == written[1] != written[2]
    assert written[2][1] == 201


def test_an_open_file_stays_what_it_is_when_its_name_gets_another(tmp_path: Path) -> None:
    with opened(tmp_path, "vendas.csv", 5000, quiet) as first, opened(tmp_path, "vendas.csv", 20, quiet):
        assert first.stream.read().count(b"\n") == 5001


def test_jobs_that_write_the_same_name_at_once_each_read_what_they_asked_for(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def work(num_rows: int) -> None:
        with opened(tmp_path, "vendas.csv", num_rows, quiet) as file:
            seen.append((num_rows, file.stream.read().count(b"\n") - 1))

    threads = [Thread(target=work, args=(3000 + number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(asked == got for asked, got in seen)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def full(current: int, total: int, message: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"), opened(tmp_path, "vendas.csv", 5000, full):
        pass
    assert list((tmp_path / "generated").iterdir()) == []


def test_what_a_killed_attempt_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    put(tmp_path, "generated", ".writing-old", b"half")
    put(tmp_path, "generated", ".writing-young", b"half")
    before = time.time() - files.STALE_AFTER - 60
    os.utime(tmp_path / "generated" / ".writing-old", (before, before))
    with opened(tmp_path, "vendas.csv", 10, quiet):
        assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == [".writing-young", "vendas.csv"]


@pytest.mark.parametrize("name", ["vendas.csv", "file_1.csv", "relatório 2025 (1).csv", "ภาษาไทย.csv", "a", "x" * 60])
def test_plain_names_are_good(name: str) -> None:
    assert check_name(name) == name


def test_a_decomposed_name_is_the_composed_one() -> None:
    assert check_name(normalize("NFD", "relatório.csv")) == "relatório.csv"


BAD_NAMES = ["", ".", "..", "../x.csv", "/etc/passwd", "a/b.csv", "..\\x", ".hidden", "a\x00.csv", "a\n.csv", "a:b"]
BAD_NAMES += ["x" * 61, "x" * 10_000, "\ud800.csv", "\u0301.csv", "vendas.csv\n"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_no_plain_file_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"), opened(tmp_path, name, 1, quiet):
        pass
    assert list(tmp_path.iterdir()) == []
