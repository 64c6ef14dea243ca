"""What the routes of videos and `/cdn` accept, refuse and answer; nobody works on the jobs."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.lab.poll import eventually
from tests.loja.videos.cinema import Cinema
from tests.loja.videos.conftest import MAX_VIDEO
from tests.loja.videos.studio import Studio


def test_an_upload_is_accepted_with_where_to_look(cinema: Cinema, studio: Studio) -> None:
    answer = cinema.post(studio.clip(), name="Férias 2025.mov")
    body = answer.json()
    video = body["id"]
    assert answer.status_code == 202
    assert body == {
        "id": video,
        "status": "processing",
        "title": "Férias 2025",
        "url": f"/videos/{video}",
        "task_id": video,
        "status_url": f"/tasks/{video}",
    }
    assert answer.headers["location"] == body["status_url"]
    task = cinema.shop.task(body["task_id"])
    assert (task["name"], task["queue"], task["max_attempts"]) == ("loja.videos.tasks.process_video", "video", 4)
    shown = cinema.show(video)
    assert (shown["status"], shown["filename"], shown["video_url"]) == ("processing", "Férias 2025.mov", None)
    assert shown["size"] == studio.clip().stat().st_size
    assert cinema.files_of(video) == {f"videos/{video}"}
    assert (cinema.shop.folder / "videos" / video).read_bytes() == studio.clip().read_bytes()


def test_a_title_may_be_given(cinema: Cinema, studio: Studio) -> None:
    assert cinema.post(studio.clip(), title=" On\nthe  beach ").json()["title"] == "On the beach"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd.mp4", "..\\..\\boot.ini", "$(touch x).mp4", "-i.mp4"]
)
def test_the_name_of_an_upload_is_never_a_path(cinema: Cinema, studio: Studio, name: str) -> None:
    before = cinema.files()
    video = cinema.post(studio.clip(), name=name).json()["id"]
    assert cinema.files() - before == {f"videos/{video}"}


@pytest.mark.parametrize(
    ("content", "fields", "field"),
    [(b"", {}, "file"), (b"x", {"title": "x" * 201}, "title"), (b"x", {"tittle": "x"}, "tittle")],
)
def test_a_form_that_cannot_be_used_is_422_and_leaves_nothing(
    cinema: Cinema, content: bytes, fields: dict[str, str], field: str
) -> None:
    before = cinema.files()
    answer = cinema.client.post("/videos", files={"file": ("clip.mp4", content)}, data=fields)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert cinema.files() == before


def test_an_upload_above_the_limit_is_413_and_frees_the_disk(cinema: Cinema) -> None:
    before = cinema.files()
    for size in (MAX_VIDEO + 1, 2 * MAX_VIDEO):
        answer = cinema.client.post("/videos", files={"file": ("big.mp4", b"x" * size)})
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert cinema.files() == before
    assert cinema.client.post("/videos", files={"file": ("just.mp4", b"x" * MAX_VIDEO)}).status_code == 202


def test_an_upload_whose_client_goes_away_leaves_nothing(cinema: Cinema) -> None:
    before = cinema.files()
    head = (
        "POST /videos HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nContent-Type: multipart/form-data; boundary=B"
    )
    part = '--B\r\nContent-Disposition: form-data; name="file"; filename="clip.mp4"\r\n\r\n'
    url = cinema.client.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(f"{head}\r\n\r\n{part}".encode() + b"x" * 2_000_000)
        eventually(lambda: cinema.files() - before)
    eventually(lambda: cinema.files() == before)


def test_an_upload_that_cannot_be_stored_leaves_nothing(cinema: Cinema, studio: Studio) -> None:
    before = cinema.files()
    cinema.shop.query("ALTER TABLE loja.videos RENAME TO hidden")
    try:
        # Not the client of the other tests: uvicorn closes a connection after an error that nobody foresaw.
        answer = httpx.post(
            cinema.client.base_url.join("/videos"), files={"file": studio.clip().read_bytes()}, timeout=20
        )
    finally:
        cinema.shop.query("ALTER TABLE loja.hidden RENAME TO videos")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert cinema.files() == before


def test_videos_are_listed_page_by_page_newest_first(cinema: Cinema, studio: Studio) -> None:
    ids = [cinema.upload(studio.clip()) for _ in range(3)]
    first = cinema.client.get("/videos?limit=2").json()
    assert [item["id"] for item in first["items"]] == ids[:0:-1]
    second = cinema.client.get(f"/videos?limit=1&cursor={first['next_cursor']}").json()
    assert [item["id"] for item in second["items"]] == ids[:1]
    rest = cinema.client.get("/videos?limit=100").json()
    assert rest["next_cursor"] is None
    assert len(rest["items"]) == cinema.shop.query("SELECT count(*) FROM loja.videos")[0][0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/videos/019303f8-7c1e-7d1a-9f2b-0c9d6d3f9a11", 404),
        ("/videos/none", 422),
        ("/videos?limit=0", 422),
        ("/videos?limit=101", 422),
        ("/videos?cursor=x", 422),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_a_problem(cinema: Cinema, path: str, status: int) -> None:
    answer = cinema.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_waiting_video_can_be_cancelled(cinema: Cinema, studio: Studio) -> None:
    video = cinema.upload(studio.clip())
    assert cinema.client.delete(f"/tasks/{video}").status_code == 200
    assert cinema.show(video)["status"] == "cancelled"


# ---- /cdn


@pytest.fixture(scope="module")
def movie(cinema: Cinema) -> Path:
    """A published file."""
    folder = cinema.shop.folder / "cdn" / "videos"
    (folder / ".unfinished").mkdir(parents=True)
    (folder / ".unfinished" / "half.mp4").write_bytes(b"half")
    (folder / "outside.mp4").symlink_to("/etc/passwd")
    path = folder / "movie.mp4"
    path.write_bytes(bytes(range(256)) * 100)
    return path


def test_a_published_file_is_served_whole(cinema: Cinema, movie: Path) -> None:
    answer = cinema.client.get("/cdn/videos/movie.mp4")
    assert (answer.status_code, answer.content) == (200, movie.read_bytes())
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    head = cinema.client.head("/cdn/videos/movie.mp4")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "25600", b"")
    again = cinema.client.get("/cdn/videos/movie.mp4", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("0-99", 0, 99), ("25000-", 25000, 25599), ("-10", 25590, 25599)]
)
def test_a_browser_can_seek(cinema: Cinema, movie: Path, wanted: str, first: int, last: int) -> None:
    answer = cinema.client.get("/cdn/videos/movie.mp4", headers={"range": f"bytes={wanted}"})
    assert (answer.status_code, answer.headers["content-range"]) == (206, f"bytes {first}-{last}/25600")
    assert answer.content == movie.read_bytes()[first : last + 1]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_range_beyond_the_end_is_416(cinema: Cinema, movie: Path) -> None:
    answer = cinema.client.get("/cdn/videos/movie.mp4", headers={"range": "bytes=25600-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */25600")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "videos",
        "videos/",
        "videos/none.mp4",
        "videos/.unfinished/half.mp4",
        "videos/outside.mp4",
        "../stack.json",
        "..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "videos%00/movie.mp4",
        "videos/movie.mp4/x",
        "x" * 5000,
    ],
)
def test_nothing_but_published_files_can_be_named(cinema: Cinema, movie: Path, path: str) -> None:
    answer = cinema.client.get(f"/cdn/{path}", follow_redirects=True)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_cdn_is_for_reading(cinema: Cinema, movie: Path) -> None:
    answer = cinema.client.put("/cdn/videos/movie.mp4", content=b"mine")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
