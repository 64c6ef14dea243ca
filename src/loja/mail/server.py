"""The mail server that a URL names."""

import ipaddress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from loja.mail.errors import NoMailServer

_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over; `tls` from the first byte, or else as soon as the server offers it."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str | None) -> Self:
        """From `smtp[s]://[user:password@]host[:port]`; raises NoMailServer, without the password."""
        if not url:
            raise NoMailServer("TRILHO_SMTP_URL is not set, and no stack that catches mail runs: no mail can be sent")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise NoMailServer("TRILHO_SMTP_URL is no URL: smtp[s]://[user:password@]host[:port]") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise NoMailServer("TRILHO_SMTP_URL must be smtp[s]://[user:password@]host[:port]")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "smtps", user, password)

    @property
    def is_local(self) -> bool:
        """Whether nobody can listen on the way to it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
