"""E-mail addresses, as requests bring them."""

from typing import Annotated, Any

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, StringConstraints, WithJsonSchema

MAX_ADDRESS = 254

# Bounded in each part, so that nothing of this form is longer than an address may be.
_LOCAL = r"[A-Za-z0-9_+-](\.?[A-Za-z0-9_+-]){0,31}"
_LABEL = "[A-Za-z0-9](-?[A-Za-z0-9]){0,31}"
SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": "An e-mail address.",
    "examples": ["eu@empresa.com"],
    "maxLength": MAX_ADDRESS,
    "pattern": rf"^{_LOCAL}@({_LABEL}\.){{1,3}}[A-Za-z]{{2,24}}$",
}
"""What every client may send; longer and stranger addresses are understood as well."""


def check_address(text: str) -> str:
    """The address with its domain in ASCII; raises ValueError that says what is wrong with it.

    No letters beyond ASCII before the @: few servers take them.
    """
    try:
        found = validate_email(text, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    assert found.ascii_email is not None
    return found.ascii_email


EmailAddress = Annotated[
    str, StringConstraints(max_length=MAX_ADDRESS), AfterValidator(check_address), WithJsonSchema(SCHEMA)
]
