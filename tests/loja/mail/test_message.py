"""A mail says what it should, and nothing that a name or subject put into it."""

import email
from datetime import datetime, timezone
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.mail.errors import UnsafeHeader
from loja.mail.message import Attachment, Letter, Person, build, message_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SENDER = Person("loja@example.com", "Loja")
JOB = "019aa1b2-0000-7000-8000-000000000000"
HEADERS = [
    "from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type",
]  # fmt: skip


def letter(name: str = "Ana", subject: str = "Hello", filename: str = "vendas.csv") -> Letter:
    attachment = Attachment(filename, "text/csv", b"a,b\r\n1,2\r\n")
    return Letter(Person("ana@example.com", name), subject, "Olá\n", "<p>Olá</p>", (attachment,))


def sent(given: Letter) -> EmailMessage:
    """The mail as its receiver parses it."""
    content = build(given, SENDER, JOB, NOW).as_bytes()
    message = email.message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_has_text_html_and_attachment() -> None:
    message = sent(letter())
    assert message.get_body(("plain",)).get_content().splitlines() == ["Olá"]
    assert "<p>Olá</p>" in message.get_body(("html",)).get_content()
    [file] = message.iter_attachments()
    assert (file.get_filename(), file.get_content_type()) == ("vendas.csv", "text/csv")
    assert file.get_payload(decode=True) == b"a,b\r\n1,2\r\n"
    assert str(message["From"]) == "Loja <loja@example.com>"
    assert message["Date"].datetime == NOW


def test_every_attempt_of_a_job_gives_the_same_message_id() -> None:
    first = build(letter(), SENDER, JOB, NOW)
    again = build(letter(), SENDER, JOB, datetime.now(timezone.utc))
    assert first["Message-ID"] == again["Message-ID"] == f"<{JOB}@example.com>"
    assert message_id("other", SENDER) != message_id(JOB, SENDER)


def test_lines_are_short_seven_bit_and_end_as_smtp_wants_it() -> None:
    content = build(letter(name="Ção " * 20, subject="é" * 500), SENDER, JOB, NOW).as_bytes()
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")


LINE_BREAKS = ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x1e", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("mark", LINE_BREAKS, ids=ascii)
@pytest.mark.parametrize("part", ["name", "subject", "filename"])
def test_what_could_begin_another_header_is_refused_with_a_reason(part: str, mark: str) -> None:
    with pytest.raises(UnsafeHeader, match="must be one line without control characters"):
        build(letter(**{part: f"Ana{mark}Bcc: everybody@example.com"}), SENDER, JOB, NOW)


@pytest.mark.parametrize("address", ["a@b\r\nBcc: c@d.example", "a@b\nX: y", "", "a b", "a@b, c@d", "<a@b>"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UnsafeHeader):
        build(Letter(Person(address), "s", "t", "h"), SENDER, JOB, NOW)


@pytest.mark.parametrize("job", ["a b", "a>\r\nX: y", "", "é", "x" * 101])
def test_an_id_that_cannot_stand_in_a_message_id_is_refused(job: str) -> None:
    with pytest.raises(UnsafeHeader):
        build(letter(), SENDER, job, NOW)


printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200)


@given(name=printable, subject=printable)
def test_whatever_is_in_a_name_or_subject_the_mail_has_its_own_headers_and_one_recipient(
    name: str, subject: str
) -> None:
    message = sent(letter(name=name, subject=subject))
    assert [header.lower() for header in message] == HEADERS
    assert message["Message-ID"] == f"<{JOB}@example.com>"
    assert message.get_body(("plain",)).get_content().splitlines() == ["Olá"]
    assert "bcc" not in message
