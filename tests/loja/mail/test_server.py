"""What a URL says about a mail server."""

import pytest

from loja.mail.errors import NoMailServer
from loja.mail.server import MailServer

SECRET = "p%40ss%2Fw%3Ard"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", MailServer("localhost", 25)),
        ("smtp://127.0.0.1:1025", MailServer("127.0.0.1", 1025)),
        ("smtps://mail.example.com", MailServer("mail.example.com", 465, tls=True)),
        ("smtp://[::1]:2525/", MailServer("::1", 2525)),
        (f"smtps://ana%40x:{SECRET}@h:1", MailServer("h", 1, tls=True, user="ana@x", password="p@ss/w:rd")),
    ],
)
def test_a_url_is_understood(url: str, server: MailServer) -> None:
    assert MailServer.of(url) == server


@pytest.mark.parametrize(
    "url", [None, "", "localhost:25", "http://host", "smtp://", f"smtp://ana:{SECRET}@host:port", f"x://a:{SECRET}@h"]
)
def test_a_url_that_cannot_be_used_names_the_variable_and_no_password(url: str | None) -> None:
    with pytest.raises(NoMailServer, match="TRILHO_SMTP_URL") as caught:
        MailServer.of(url)
    assert SECRET not in str(caught.value)


def test_the_password_does_not_show() -> None:
    assert "p@ss/w:rd" not in repr(MailServer.of(f"smtp://ana:{SECRET}@host"))


@pytest.mark.parametrize(
    ("host", "local"), [("localhost", True), ("127.0.0.9", True), ("::1", True), ("mail.example.com", False)]
)
def test_only_loopback_is_local(host: str, local: bool) -> None:
    assert MailServer(host, 25).is_local is local
