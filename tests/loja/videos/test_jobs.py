"""Videos on a real worker, from the upload to the browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.poll import eventually
from tests.lab.worker import Worker
from tests.loja.videos.cinema import Cinema, published
from tests.loja.videos.studio import Studio, ffmpeg

PIECE = 10_000


@pytest.fixture(scope="module", autouse=True)
def worker(cinema: Cinema) -> Iterator[Worker]:
    with cinema.worker() as worker:
        yield worker


def watched(cinema: Cinema, url: str) -> bytes:
    """A published file as a browser fetches it: range by range."""
    content, total = b"", 1
    while len(content) < total:
        wanted = {"range": f"bytes={len(content)}-{len(content) + PIECE - 1}"}
        answer = cinema.client.get(url, headers=wanted)
        assert answer.status_code == 206, answer.text
        total = int(answer.headers["content-range"].rpartition("/")[2])
        content += answer.content
    return content


def test_an_uploaded_video_can_be_watched(cinema: Cinema, studio: Studio, tmp_path: Path) -> None:
    video = cinema.upload(studio.clip(), title="Clip")
    shown = cinema.ended(video)
    assert (shown["status"], shown["error"], shown["progress"]) == ("published", None, None)
    assert (shown["duration"], shown["width"], shown["height"], shown["title"]) == (1.0, 160, 120, "Clip")
    assert shown["published_at"] > shown["created_at"]
    assert cinema.files_of(video) == published(video)
    copy = tmp_path / "watched.mp4"
    copy.write_bytes(watched(cinema, shown["video_url"]))
    said = ffmpeg("-v", "info", "-xerror", "-i", copy, "-f", "null", "-")
    assert "h264 (High)" in said
    assert "yuv420p" in said
    assert "aac" in said
    assert 0 < copy.read_bytes().index(b"moov") < copy.read_bytes().index(b"mdat")
    picture = cinema.client.get(shown["thumbnail_url"])
    assert (picture.headers["content-type"], picture.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")


def test_a_wide_video_without_sound_is_made_smaller(cinema: Cinema, studio: Studio) -> None:
    shown = cinema.ended(cinema.upload(studio.odd()))
    assert (shown["status"], shown["width"], shown["height"]) == ("published", 1280, 256)


def test_what_is_no_video_fails_at_once_with_a_reason_and_is_removed(cinema: Cinema, studio: Studio) -> None:
    bad = {
        studio.cut(): "moov atom not found",
        studio.sound(): "no video stream",
        studio.still("8k.png"): "a still image, not a video",
        studio.text("text.mp4", "Dear Sir,\nno video this year\n"): "cannot be read as a video",
        studio.text("list.mp4", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"): "a playlist, not a video",
    }
    ids = {cinema.upload(path): reason for path, reason in bad.items()}
    for video, reason in ids.items():
        shown = cinema.ended(video)
        assert (shown["status"], shown["duration"], shown["video_url"]) == ("failed", None, None)
        assert reason in shown["error"]
        assert cinema.shop.task(video)["attempt"] == 1
        assert cinema.files_of(video) == set()


def test_a_cancel_ends_ffmpeg_and_the_next_job_cleans_up(cinema: Cinema, studio: Studio) -> None:
    video = cinema.upload(studio.long())
    shown = cinema.encoding(video)
    assert 0 < shown["progress"]["current"] <= shown["progress"]["total"] == 300_000
    assert shown["progress"]["message"].endswith("of 300.0 seconds")
    assert len(cinema.encoders()) == 1
    assert cinema.client.delete(f"/tasks/{video}").status_code == 200
    assert cinema.ended(video)["status"] == "cancelled"
    assert cinema.encoders() == []
    cinema.ended(cinema.upload(studio.clip()))
    assert cinema.files_of(video) == {f"videos/{video}"}
    assert cinema.client.post(f"/tasks/{video}/retry").status_code == 202
    assert cinema.show(video)["status"] == "processing"
    assert cinema.ended(video, timeout=60)["status"] == "published"
    assert cinema.files_of(video) == published(video)


def test_a_job_without_an_upload_fails_and_names_no_path(cinema: Cinema, studio: Studio) -> None:
    video = cinema.upload(studio.text("words.mp4", "words"))
    assert cinema.ended(video)["status"] == "failed"
    assert cinema.client.post(f"/tasks/{video}/retry").status_code == 202
    error = eventually(lambda: cinema.show(video)["error"] or "", lambda error: "upload it again" in error)
    assert str(cinema.shop.folder) not in error
