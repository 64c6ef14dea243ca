"""Why a mail was not sent.

Each takes its text and nothing else: so an exception that was stored with a job can be raised again from it.
"""


class MailError(Exception):
    """A mail was not sent; the text says why."""


class UnsafeHeader(MailError):
    """A name, subject or address has a line break or another control character, and could forge a header."""


class NoMailServer(MailError):
    """TRILHO_SMTP_URL is missing or cannot be used."""


class PermanentRefusal(MailError):
    """The server will never take this mail, so it is not sent again."""


class TemporaryFailure(MailError):
    """The server did not take the mail this time; it is sent again later."""
