"""Building a mail."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from loja.mail.errors import UnsafeHeader

# 7bit: encoded for every server, whether or not it takes eight bits.
POLICY = SMTP.clone(cte_type="7bit")

_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
_ID_SAFE = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class Person:
    """A mailbox; the name is what people see."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail; the type is a MIME type."""

    filename: str
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be said, and to whom."""

    to: Person
    subject: str
    text: str
    html: str
    attachments: Sequence[Attachment] = ()


def build(letter: Letter, sender: Person, job_id: str, now: datetime) -> EmailMessage:
    """The mail of one job; all attempts of it give the same Message-ID. Raises UnsafeHeader."""
    message = EmailMessage(policy=POLICY)
    message["From"] = _address("the sender", sender)
    message["To"] = _address("the recipient", letter.to)
    message["Subject"] = one_line("the subject", letter.subject)
    message["Date"] = now
    message["Message-ID"] = message_id(job_id, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    for attachment in letter.attachments:
        main, _, sub = attachment.type.partition("/")
        filename = one_line("the attachment's name", attachment.filename)
        message.add_attachment(attachment.content, maintype=main, subtype=sub, filename=filename)
    return message


def message_id(job_id: str, sender: Person) -> str:
    """`<job id@domain of the sender>`: a receiver that gets the same mail twice can tell."""
    if not _ID_SAFE.fullmatch(job_id):
        raise UnsafeHeader(f"the id {job_id!r} cannot stand in a Message-ID")
    return f"<{job_id}@{sender.email.rpartition('@')[2]}>"


def one_line(what: str, text: str) -> str:
    """The text itself; raises UnsafeHeader if it could end its header and begin another one."""
    for mark in text:
        if unicodedata.category(mark) in _UNSAFE:
            raise UnsafeHeader(f"{what} must be one line without control characters, and has {mark!r}")
    return text


def _address(what: str, person: Person) -> Address:
    name, email = one_line(f"{what}'s name", person.name), one_line(f"{what}'s address", person.email)
    try:
        return Address(name, addr_spec=email)
    except (ValueError, IndexError, MessageError) as error:
        raise UnsafeHeader(f"{what}'s address {email!r} cannot be used: {error}") from None
