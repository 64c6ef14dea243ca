"""What an error of SMTP means for the next attempt. Pure: decided from the exception, without I/O."""

import smtplib
from dataclasses import dataclass

from loja.mail.errors import MailError, PermanentRefusal, TemporaryFailure

MAX_SHOWN = 300

PERMANENT = range(500, 600)
"""5yz of RFC 5321, 4.2.1: the same request must not be sent again; 552, a full mailbox, is one of them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said."""

    code: int
    text: str


def classified(error: Exception, recipient: str) -> MailError:
    """The reason as PermanentRefusal or TemporaryFailure; whatever is not clearly permanent is temporary."""
    reply = reply_of(error)
    if reply is not None and reply.code in PERMANENT:
        return PermanentRefusal(f"the mail server refuses mail to {recipient}: {reply.code} {reply.text}")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return PermanentRefusal(f"the mail server cannot do what this mail needs: {_shown(error)}")
    if reply is not None:
        return TemporaryFailure(f"the mail server does not take mail to {recipient} now: {reply.code} {reply.text}")
    return TemporaryFailure(f"the mail to {recipient} was not handed over: {_shown(error) or type(error).__name__}")


def reply_of(error: Exception) -> Reply | None:
    """The server's own words, if it said any; of several refused recipients those of one that may still be served."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = min(error.recipients.values(), key=lambda reply: reply[0])
        return Reply(code, _shown(text))
    if isinstance(error, smtplib.SMTPResponseException):
        return Reply(error.smtp_code, _shown(error.smtp_error))
    return None


def _shown(said: object) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return "".join(mark if mark.isprintable() else " " for mark in " ".join(text.split()))[:MAX_SHOWN]
