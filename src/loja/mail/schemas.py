"""Caught mail as JSON."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from loja.mail.box import Listed
from loja.mail.caught import CaughtMail


class MailSummary(BaseModel):
    """One mail of the list."""

    id: UUID
    url: str = Field(examples=["/mail/019aa1b2-0000-7000-8000-000000000000"])
    sender: str = Field(description="The header `From`.", examples=["Loja <loja@example.com>"])
    recipient: str = Field(description="The header `To`.", examples=["eu@empresa.com"])
    subject: str
    date: str = Field(description="The header `Date`, as it stands in the mail.")
    size: int = Field(description="Bytes.")

    @classmethod
    def of(cls, listed: Listed, base: str) -> Self:
        """From a mail of the folder; `base` is the path of the list."""
        head = listed.mail.header
        return cls(
            id=listed.id,
            url=f"{base}/{listed.id}",
            sender=head("From"),
            recipient=head("To"),
            subject=head("Subject"),
            date=head("Date"),
            size=listed.size,
        )


class MailPage(BaseModel):
    """Caught mail, the newest first."""

    items: list[MailSummary]
    next: str | None = Field(description="Path of the page with older ones.")
    note: str | None = Field(description="Why there is nothing, where that is so.")


class MailFile(BaseModel):
    """An attachment."""

    url: str
    filename: str
    type: str = Field(description="What the sender says that it is.", examples=["text/csv"])
    size: int = Field(description="Bytes.")


class MailHeader(BaseModel):
    """One header, decoded."""

    name: str
    value: str


class MailOut(BaseModel):
    """One caught mail."""

    id: UUID
    headers: list[MailHeader]
    text: str | None
    html_url: str | None = Field(description="Path of its HTML, where it has some.")
    attachments: list[MailFile]

    @classmethod
    def of(cls, mail_id: UUID, mail: CaughtMail, base: str) -> Self:
        """From an opened mail; `base` is the path of the list."""
        url = f"{base}/{mail_id}"
        return cls(
            id=mail_id,
            headers=[MailHeader(name=name, value=value) for name, value in mail.headers],
            text=mail.text,
            html_url=None if mail.html is None else f"{url}/html",
            attachments=[
                MailFile(
                    url=f"{url}/attachments/{number}", filename=file.filename, type=file.type, size=len(file.content)
                )
                for number, file in enumerate(mail.files)
            ],
        )
