"""What is kept of an upload, and what a stranger may have it called."""

from pathlib import Path

import psycopg
import pytest
import sqlalchemy.exc

from loja.videos.intake import _UNCERTAIN, _removed_on_error, title_of


@pytest.mark.parametrize(
    ("given", "filename", "title"),
    [
        ("Holidays", "clip.mp4", "Holidays"),
        ("", "clip.mp4", "clip"),
        (" \n\x00", "clip.tar.mp4", "clip.tar"),
        ("", "C:\\films\\my film.avi", "my film"),
        ("", "../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x\ud800", "", "a Set-Cookie: x"),
        ("", "\x01\x02", "untitled"),
        ("", "x" * 500, "x" * 200),
    ],
)
def test_a_title_is_one_line_that_can_be_stored(given: str, filename: str, title: str) -> None:
    assert title_of(given, filename) == title


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (ValueError(), False),
        (KeyboardInterrupt(), False),
        (sqlalchemy.exc.IntegrityError("", {}, Exception()), False),
        (sqlalchemy.exc.OperationalError("", {}, Exception()), True),
        (psycopg.OperationalError(), True),
    ],
)
def test_a_file_goes_with_a_commit_that_failed_but_not_with_one_of_unknown_end(
    tmp_path: Path, error: BaseException, stays: bool
) -> None:
    path = tmp_path / "upload"
    path.touch()
    with pytest.raises(type(error)), _removed_on_error(path, but=_UNCERTAIN):
        raise error
    assert path.exists() == stays
