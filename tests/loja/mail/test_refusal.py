"""What each error of SMTP means for the next attempt."""

import smtplib
import socket

import pytest

from loja.mail.errors import PermanentRefusal, TemporaryFailure
from loja.mail.refusal import MAX_SHOWN, classified

TO = "ana@example.com"


def refused(code: int, text: bytes = b"no") -> smtplib.SMTPRecipientsRefused:
    return smtplib.SMTPRecipientsRefused({TO: (code, text)})


PERMANENT = [
    refused(550),
    refused(553),
    smtplib.SMTPDataError(552, b"mailbox full"),
    smtplib.SMTPDataError(554, b"spam"),
    smtplib.SMTPSenderRefused(550, b"not you", "loja@example.com"),
    smtplib.SMTPConnectError(554, b"no mail here"),
    smtplib.SMTPAuthenticationError(535, b"bad credentials"),
    smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server."),
]
TEMPORARY = [
    refused(421),
    refused(450),
    refused(451),
    refused(452),
    smtplib.SMTPDataError(451, b"try again"),
    smtplib.SMTPConnectError(421, b"too busy"),
    smtplib.SMTPAuthenticationError(454, b"later"),
    smtplib.SMTPHeloError(-1, b"gibberish"),
    smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
    smtplib.SMTPException("No suitable authentication method found."),
    ConnectionRefusedError(111, "Connection refused"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError("timed out"),
    socket.gaierror(-2, "Name or service not known"),
]


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_what_the_server_will_never_take_is_permanent(error: Exception) -> None:
    assert type(classified(error, TO)) is PermanentRefusal


@pytest.mark.parametrize("error", TEMPORARY, ids=repr)
def test_everything_else_is_tried_again(error: Exception) -> None:
    assert type(classified(error, TO)) is TemporaryFailure


def test_the_reason_is_the_servers_own_in_one_readable_line() -> None:
    said = b"5.1.1 <ana@example.com>:\r\n no \xff such\x00 user" + b"x" * 1000
    told = str(classified(refused(550, said), TO))
    assert told.startswith("the mail server refuses mail to ana@example.com: 550 5.1.1 <ana@example.com>: no ")
    assert told.isprintable()
    assert len(told) < MAX_SHOWN + 80


def test_an_error_without_words_is_named() -> None:
    assert "ConnectionResetError" in str(classified(ConnectionResetError(), TO))
