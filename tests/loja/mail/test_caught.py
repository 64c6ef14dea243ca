"""Whatever a mail is made of, it can be read, and nothing in it chooses a path."""

import email.policy
from datetime import datetime, timezone
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.mail.caught import CaughtMail, read, read_headers
from loja.mail.message import Attachment, Letter, Person, build


def test_our_own_mail_is_read_as_it_was_written() -> None:
    attachment = Attachment("relatório.csv", "text/csv", b"\xef\xbb\xbfa\r\n")
    letter = Letter(Person("ana@example.com", "Ana Conceição"), "Olá, Ana", "texto\n", "<b>olá</b>\n", (attachment,))
    content = build(letter, Person("loja@example.com"), "job", datetime.now(timezone.utc)).as_bytes()
    mail = read(content)
    assert mail.header("to") == "Ana Conceição <ana@example.com>"
    assert mail.header("Subject") == "Olá, Ana"
    assert (mail.text or "").splitlines() == ["texto"]
    assert (mail.html or "").splitlines() == ["<b>olá</b>"]
    [file] = mail.files
    assert (file.filename, file.type, file.content) == ("relatório.csv", "text/csv", b"\xef\xbb\xbfa\r\n")
    assert read_headers(content).headers == mail.headers


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs", "abs"),
        ("..", "part-0"),
        ("", "part-0"),
        (" .hidden", "hidden"),
        ("x" * 500, "x" * 100),
    ],
)
def test_the_name_of_a_file_is_a_plain_one(given: str, shown: str) -> None:
    message = EmailMessage(email.policy.SMTP)
    message.add_attachment(b"x", maintype="image", subtype="png", filename=given)
    [file] = read(message.as_bytes()).files
    assert file.filename == shown


@pytest.mark.parametrize("charset", ["nothing-of-the-kind", "zlib", "idna", "utf-7", "unicode_escape", "\xff"])
def test_an_encoding_that_does_not_fit_shows_what_can_be_shown(charset: str) -> None:
    head = f'Content-Type: text/plain; charset="{charset}"\r\nSubject: =?{charset}?q?a=FFb?=\r\n\r\n'
    mail = read(head.encode("latin-1") + b"a \\ud800 b\xff")
    assert (mail.text or "").startswith("a ")
    assert (mail.text or "").encode()
    assert "b" in mail.header("subject")


def test_headers_in_plain_utf8_are_shown() -> None:
    assert read("Subject: Olá\r\n\r\n".encode()).header("subject") == "Olá"


def test_a_mail_nested_without_end_is_shown_as_text() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000))
    assert "multipart" in (read(deep).text or "")


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"--b\r\n", b"--b--\r\n", b"\r\n", b"\n", b"Subject: =?x?b?=",
        b"Content-Type: text/html; charset=\"\r\n", b"Content-Type: text/plain; charset*=x''y\r\n", b"=?utf-8?b?////?=",
        b"Content-Disposition: attachment; filename*0*=a'b'%ff; filename*2=\"\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: uuencode\r\n", b"begin 644 x\r\n",
        b"X: ", b":\r\n",
        b"Content-Type: message/external-body\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"=\xff=0",
    ]
)  # fmt: skip


def usable(mail: CaughtMail) -> None:
    """Everything in it can be written to a page."""
    for name, value in mail.headers:
        assert (name + value).encode()
        assert "\n" not in value
    for text in (mail.text, mail.html):
        assert (text or "").encode() is not None
    for file in mail.files:
        assert file.filename.encode()
        assert "/" not in file.filename
        assert file.type.encode()


@given(st.lists(PIECES | st.binary(max_size=20), max_size=15).map(b"".join))
def test_no_bytes_are_too_broken_to_be_shown(content: bytes) -> None:
    usable(read(content))
    usable(read_headers(content))
