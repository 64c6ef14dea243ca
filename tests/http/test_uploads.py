"""Files from multipart forms to the disk."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from tests.http.form import BOUNDARY, END, KIND, Line, file_form, part
from tests.http.server import served
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.http import form_body, form_limit, install, receive_upload, uploads

LIMIT = 3_000_000
MiB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uploads arrive."""
    return tmp_path_factory.mktemp("uploads") / "arriving"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """An API that takes a file and two texts, and needs no database for that."""
    api = FastAPI()
    install(api, Trilho("shop"), body_limits={"/files": form_limit(LIMIT, 2)})

    @api.post("/files", openapi_extra=form_body("file", "title", "note"))
    async def take(request: Request) -> dict[str, object]:
        upload = await receive_upload(request, "file", folder, limit=LIMIT, fields=("title", "note"))
        content = upload.path.read_bytes()
        upload.path.unlink()
        return {"name": upload.filename, "size": upload.size, "sum": hash(content), "fields": upload.fields}

    @api.get("/ping")
    async def ping() -> str:
        return "pong"

    with served(api) as client:
        yield client


def post(client: httpx.Client, body: bytes, kind: str = KIND) -> httpx.Response:
    return client.post("/files", content=body, headers={"content-type": kind})


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


CONTENTS = {
    "nothing": b"",
    "text": "data;região\r\n".encode("latin-1"),
    "every byte, over several batches": bytes(range(256)) * 10_000,
    "almost its own boundary": f"\r\n--{BOUNDARY[:-1]}\r\n\r\n--{BOUNDARY}x\r\n-".encode() * 500,
    "line ends": b"\r\n\r\r\n" * 1000,
    "as much as there may be": b"x" * LIMIT,
}


@pytest.mark.parametrize("size", [7, 65536])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_arrives_byte_for_byte_however_it_is_cut(
    client: httpx.Client, folder: Path, content: str, size: int
) -> None:
    body = part("title", "Vendas é".encode()) + file_form(CONTENTS[content], "vendas é.csv")
    size = size if len(body) < 100_000 else 65536
    answer = client.post("/files", content=in_pieces(body, size), headers={"content-type": KIND})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "name": "vendas é.csv",
        "size": len(CONTENTS[content]),
        "sum": hash(CONTENTS[content]),
        "fields": {"title": "Vendas é"},
    }
    assert left_in(folder) == []


BAD = {
    "no file": (part("title", b"x") + END, "file", "is missing"),
    "no part": (END, "file", "is missing"),
    "two files": (part("file", b"x", "a") + file_form(b"y"), "file", "twice"),
    "two texts": (part("title", b"x") + part("title", b"y") + file_form(b"y"), "title", "twice"),
    "another field": (part("other", b"x") + file_form(b"y"), "other", "not expected"),
    "a text in place of the file": (part("file", b"x") + END, "file", "must be a file"),
    "a file without a name": (part("file", b"x", "") + END, "file", "must be a file"),
    "a part without a field": (part(None, b"x") + END, "body", "without the name"),
    "a name that is no text": (part("file", b"x", "a").replace(b'"a"', b'"\xff"') + END, "file", "UTF-8"),
    "a text that is no text": (part("title", b"\xff") + file_form(b"x"), "title", "UTF-8"),
    "a text that is long": (part("title", b"x" * 20_000) + file_form(b"x"), "title", "10,000 bytes"),
    "a name that is long": (file_form(b"x", "x" * 10_000), "body", "cannot be read"),
    "a header that is long": (part("file", b"x", "a", "X-Long: " + "x" * 10_000) + END, "body", "cannot be read"),
    "headers without number": (part("file", b"x", "a", *["X: y"] * 50) + END, "body", "cannot be read"),
    "parts without number": (part("title", b"") * 5000, "title", "twice"),
    "a body that ends early": (file_form(b"x" * 100)[:-40], "body", "ended before"),
    "a last boundary cut short": (file_form(b"x" * 100)[:-4], "body", "ended before"),
    "another boundary": (file_form(b"x").replace(b"limit", b"other"), "body", "cannot be read"),
    "no form": (b"date;region\n", "body", "cannot be read"),
    "nothing": (b"", "body", "ended before"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_form_that_cannot_be_used_is_422_and_leaves_nothing(client: httpx.Client, folder: Path, case: str) -> None:
    body, field, message = BAD[case]
    answer = post(client, body)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:trilho:problem:invalid-request"), answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert message in answer.json()["errors"][0]["message"]
    assert len(answer.text) < 1500
    assert left_in(folder) == []


@pytest.mark.parametrize(
    "kind", ["text/csv", "multipart/form-data", "multipart/mixed; boundary=x", f"{KIND}{'x' * 300}", "", "multipart"]
)
def test_what_is_no_multipart_form_is_422(client: httpx.Client, folder: Path, kind: str) -> None:
    answer = post(client, file_form(b"x"), kind)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")
    assert left_in(folder) == []


@pytest.mark.parametrize("surplus", [1, MiB])
@pytest.mark.parametrize("announced", [True, False])
def test_a_file_above_the_limit_is_413_and_leaves_nothing(
    client: httpx.Client, folder: Path, surplus: int, announced: bool
) -> None:
    body = file_form(b"x" * (LIMIT + surplus))
    content = body if announced else in_pieces(body, 65536)
    answer = client.post("/files", content=content, headers={"content-type": KIND})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert left_in(folder) == []


BIG = (part("file", b"", "big.csv")[:-2], *[b"x" * MiB] * 64)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_all_before_it_reads_is_told_why(client: httpx.Client, folder: Path, chunked: bool) -> None:
    size = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(sum(map(len, BIG)))}
    with Line(client, "/files", {"Content-Type": KIND, **size}) as line:
        assert line.send_all([b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*BIG, b"")] if chunked else BIG)
        answer = line.answer()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"may have at most" in answer
    assert left_in(folder) == []


def test_a_client_that_goes_away_leaves_nothing(client: httpx.Client, folder: Path) -> None:
    with Line(client, "/files", {"Content-Type": KIND, "Content-Length": "2000000"}) as line:
        line.send(file_form(b"x" * 1_500_000)[:1_400_000])
        eventually(lambda: sum(path.stat().st_size for path in left_in(folder)), lambda size: size > MiB // 2)
    eventually(lambda: left_in(folder), lambda left: not left)


def test_a_request_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    begun = asyncio.Event()

    async def receive() -> dict[str, object]:
        if begun.is_set():
            await asyncio.sleep(3600)
        begun.set()
        return {"type": "http.request", "body": file_form(b"x" * 100_000)[:-50], "more_body": True}

    async def cancelled() -> None:
        scope = {"type": "http", "headers": [(b"content-type", KIND.encode())]}
        request = Request(scope, receive)  # type: ignore[arg-type]
        task = asyncio.create_task(receive_upload(request, "file", folder, limit=LIMIT))
        await begun.wait()
        while not left_in(folder):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert left_in(folder) == []


def test_a_disk_that_is_full_is_507_and_leaves_nothing(
    client: httpx.Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads.os, "fsync", full)
    answer = post(client, file_form(b"x"))
    assert (answer.status_code, answer.headers["content-type"]) == (507, "application/problem+json")
    assert left_in(folder) == []


def test_a_file_is_on_the_disk_before_anybody_gets_it(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(uploads.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    assert post(client, file_form(b"x" * 5000)).status_code == 200
    assert synced == [5000]


def test_a_slow_disk_makes_no_other_request_wait(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, spun = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        asked.set()
        assert spun.wait(20)

    monkeypatch.setattr(uploads.os, "fsync", slow)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(post(client, file_form(b"x"))))
    thread.start()
    assert asked.wait(10)
    assert client.get("/ping", timeout=5).json() == "pong"
    spun.set()
    thread.join(10)
    assert answers[0].status_code == 200


def test_what_a_killed_server_left_is_removed_by_the_next_upload(client: httpx.Client, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    old, young, other = (folder / name for name in (f"{uploads.UNFINISHED}old", f"{uploads.UNFINISHED}young", "mine"))
    for path in (old, young, other):
        path.write_bytes(b"half a file")
    long_ago = time.time() - uploads.STALE_AFTER - 60
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    assert post(client, file_form(b"x")).status_code == 200
    assert sorted(left_in(folder)) == sorted([young, other])
    young.unlink()
    other.unlink()


def test_the_form_is_documented(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/files"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert (schema["required"], set(schema["properties"])) == (["file"], {"file", "title", "note"})
