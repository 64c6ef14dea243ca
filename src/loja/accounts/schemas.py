"""Users as JSON."""

import re
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from loja.accounts.users import User
from loja.mail.address import EmailAddress
from loja.text import has_surrogates

MAX_NAME = 100
# Control characters and line ends could forge headers of a mail; marks that turn the writing direction could make
# one name look like another.
NAME_PATTERN = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]*$"


def check_name(name: str) -> str:
    """The name with single spaces; raises ValueError for what is no name."""
    if not re.fullmatch(NAME_PATTERN, name) or "\n" in name or has_surrogates(name):
        raise ValueError("must be one line without control characters")
    if len(name) > MAX_NAME:
        raise ValueError(f"must not be longer than {MAX_NAME} characters, and has {len(name):,}")
    return " ".join(name.split())


Name = Annotated[
    str,
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "maxLength": MAX_NAME, "pattern": NAME_PATTERN, "examples": ["Ana Souza"]}),
]


class NewUser(BaseModel):
    """Who wants to be a user."""

    model_config = ConfigDict(extra="forbid")

    email: EmailAddress
    name: Name | None = Field(default=None, description="How to greet them.")


class UserOut(BaseModel):
    """One user."""

    id: UUID
    email: str
    name: str | None

    @classmethod
    def of(cls, user: User) -> Self:
        """The stored user."""
        return cls(id=user.id, email=user.email, name=user.name)
