"""Contents of uploads, and the names that show them."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from loja.sales import uploads

DAWN = datetime(2026, 1, 1, 6, 0, 0, 123456, tzinfo=UTC)


def kept(folder: Path, content: bytes) -> str:
    uploads.received(folder).mkdir(parents=True, exist_ok=True)
    draft = uploads.received(folder) / "draft"
    draft.write_bytes(content)
    job_id = str(uuid4())
    uploads.keep(draft, folder, job_id)
    return job_id


def shown(folder: Path, name: str = "vendas.csv") -> bytes:
    return (folder / "uploads" / name).read_bytes()


def test_a_name_shows_the_content_of_the_job_created_last_whoever_comes_last(tmp_path: Path) -> None:
    old, new = kept(tmp_path, b"old"), kept(tmp_path, b"new")
    uploads.publish(tmp_path, "vendas.csv", old, DAWN)
    assert shown(tmp_path) == b"old"
    uploads.publish(tmp_path, "vendas.csv", new, DAWN + timedelta(microseconds=1))
    uploads.publish(tmp_path, "vendas.csv", old, DAWN)
    uploads.publish(tmp_path, "vendas.csv", new, DAWN + timedelta(microseconds=1))
    assert shown(tmp_path) == b"new"
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["vendas.csv"]


def test_a_file_that_somebody_put_there_later_stays(tmp_path: Path) -> None:
    job_id = kept(tmp_path, b"sent")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "vendas.csv").write_bytes(b"put")
    uploads.publish(tmp_path, "vendas.csv", job_id, DAWN)
    assert shown(tmp_path) == b"put"


def test_many_uploads_of_one_name_at_once_show_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [(kept(tmp_path, str(n).encode()), DAWN + timedelta(microseconds=n)) for n in range(40)]
    utime = os.utime

    def slow(path: Path, ns: tuple[int, int]) -> None:
        time.sleep(random.random() / 200)  # between the look at the shown file and its replacement
        utime(path, ns=ns)

    monkeypatch.setattr(uploads.os, "utime", slow)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: uploads.publish(tmp_path, "vendas.csv", *job), jobs))
    assert shown(tmp_path) == b"39"


def test_a_name_and_its_content_share_the_disk(tmp_path: Path) -> None:
    job_id = kept(tmp_path, b"sent")
    uploads.publish(tmp_path, "vendas.csv", job_id, DAWN)
    assert (tmp_path / "uploads" / "vendas.csv").stat().st_ino == uploads.content(tmp_path, job_id).stat().st_ino


@pytest.mark.parametrize("job_id", ["../uploads/x", "", "x", "/etc/passwd"])
def test_only_an_id_of_ours_names_a_content(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="badly formed"):
        uploads.content(tmp_path, job_id)


def test_old_contents_that_no_job_needs_are_removed(tmp_path: Path) -> None:
    done, failed, young = (kept(tmp_path, b"x") for _ in range(3))
    uploads.publish(tmp_path, "vendas.csv", done, DAWN)
    long_ago = time.time() - uploads.STALE_AFTER - 60
    for job_id in (done, failed):
        os.utime(uploads.content(tmp_path, job_id), (long_ago, long_ago))
    uploads.sweep(tmp_path, lambda job_id: job_id == failed)
    assert {path.stem for path in uploads.received(tmp_path).glob("*.csv")} == {failed, young}
    assert shown(tmp_path) == b"x"
