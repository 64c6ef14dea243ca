"""Caught mail over HTTP: a page for people, JSON for programs, and nothing that a stranger's mail could do."""

from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import uuid_utils

from loja.mail.routes import NO_CATCHER, NO_MAIL
from tests.loja.shop import Shop

EVIL = "<script>alert('x')</script>"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def folder(idle_shop: Shop) -> Iterator[Path]:
    """The empty folder of a catcher."""
    path = idle_shop.folder / "mail"
    path.mkdir(exist_ok=True)
    yield path
    for file in path.iterdir():
        file.unlink()


def keep(folder: Path, subject: str = "Hello", html: str | None = None, filename: str | None = None) -> str:
    """Put a mail where the catcher would; its id."""
    message = EmailMessage(SMTP)
    message["From"], message["To"], message["Subject"] = "loja@example.com", "ana@example.com", subject
    message.set_content(f"text {EVIL}")
    if html is not None:
        message.add_alternative(html, subtype="html")
    if filename is not None:
        message.add_attachment(b"a;b\n", maintype="text", subtype="html", filename=filename)
    mail_id = str(uuid_utils.uuid7())
    (folder / f"{mail_id}.eml").write_bytes(message.as_bytes())
    return mail_id


def got(shop: Shop, path: str, **headers: str) -> httpx.Response:
    answer = shop.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_without_a_catcher_the_list_is_empty_and_says_why(idle_shop: Shop, folder: Path) -> None:
    assert got(idle_shop, "/mail").json() == {"items": [], "next": None, "note": NO_MAIL}
    folder.rmdir()
    assert got(idle_shop, "/mail").json() == {"items": [], "next": None, "note": NO_CATCHER}
    assert NO_CATCHER in got(idle_shop, "/mail", **BROWSER).text
    folder.mkdir()


def test_the_list_is_paged_with_the_newest_first(idle_shop: Shop, folder: Path) -> None:
    ids = [keep(folder, f"number {n}") for n in range(5)][::-1]
    (folder / "notes.eml").write_text("no mail of the catcher")
    seen, path = [], "/mail?limit=2"
    while path:
        page = got(idle_shop, path).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        path = page["next"]
    assert seen == ids
    item = got(idle_shop, "/mail?limit=1").json()["items"][0]
    assert (item["subject"], item["recipient"], item["url"]) == ("number 4", "ana@example.com", f"/mail/{ids[0]}")


def test_a_mail_shows_headers_text_html_and_files(idle_shop: Shop, folder: Path) -> None:
    mail_id = keep(folder, html="<h1>Report</h1>", filename="vendas.csv")
    mail = got(idle_shop, f"/mail/{mail_id}").json()
    assert {"name": "Subject", "value": "Hello"} in mail["headers"]
    assert mail["text"].startswith("text ")
    assert got(idle_shop, mail["html_url"]).text.strip() == "<h1>Report</h1>"
    [file] = mail["attachments"]
    assert (file["filename"], file["size"]) == ("vendas.csv", 4)
    assert got(idle_shop, file["url"]).content == b"a;b\n"


def test_nothing_of_a_stranger_becomes_markup_of_ours(idle_shop: Shop, folder: Path) -> None:
    mail_id = keep(folder, subject=f"{EVIL} \" onload='x'", html=EVIL, filename=f"{EVIL}.csv")
    for path in ("/mail", f"/mail/{mail_id}"):
        page = got(idle_shop, path, **BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "script-src" not in page.headers["content-security-policy"]
    assert f'<iframe sandbox src="/mail/{mail_id}/html"' in page.text


def test_the_html_of_a_mail_may_run_nothing_and_ask_nobody(idle_shop: Shop, folder: Path) -> None:
    mail_id = keep(folder, html=f"{EVIL}<img src='http://example.com/x.png'>")
    answer = got(idle_shop, f"/mail/{mail_id}/html")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "img-src data:", "form-action 'none'"} <= set(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("given", "plain", "full"),
    [
        ("relatório.html", "relat_rio.html", "relat%C3%B3rio.html"),
        ('a"; filename="b.exe', "a__ filename__b.exe", "a%22%3B%20filename%3D%22b.exe"),
        ("../../x.html", "x.html", "x.html"),
    ],
)
def test_an_attachment_is_saved_under_a_harmless_name_and_never_shown(
    idle_shop: Shop, folder: Path, given: str, plain: str, full: str
) -> None:
    mail_id = keep(folder, filename=given)
    answer = got(idle_shop, f"/mail/{mail_id}/attachments/0")
    assert answer.headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{full}"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("part", ["", "/html", "/attachments/0"])
def test_a_mail_that_is_not_there_is_404(idle_shop: Shop, folder: Path, part: str) -> None:
    answer = idle_shop.client.get(f"/mail/{uuid4()}{part}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "no mail has the id" in answer.json()["detail"]


def test_a_part_that_is_not_there_is_404(idle_shop: Shop, folder: Path) -> None:
    mail_id = keep(folder)
    assert idle_shop.client.get(f"/mail/{mail_id}/html").status_code == 404
    assert idle_shop.client.get(f"/mail/{mail_id}/attachments/0").status_code == 404


@pytest.mark.parametrize("mail_id", ["..%2f..%2fsecret", "%2e%2e", "a.eml", "..%5csecret", "secret%00", "*"])
def test_an_id_that_is_none_reaches_no_file(idle_shop: Shop, folder: Path, mail_id: str) -> None:
    (idle_shop.folder / "secret.eml").write_text("Subject: secret\n\nsecret\n")
    answer = idle_shop.client.get(f"/mail/{mail_id}")
    assert answer.status_code in {404, 422}
    assert "Subject" not in answer.text
