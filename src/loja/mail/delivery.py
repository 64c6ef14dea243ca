"""Handing one mail over to a server."""

import smtplib
import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage

from loja.mail.errors import NoMailServer
from loja.mail.refusal import classified
from loja.mail.server import MailServer


def deliver(server: MailServer, message: EmailMessage, sender: str, recipient: str, timeout: float) -> int:
    """Hand the mail over; the number of its bytes.

    `timeout` is seconds of silence, not of the whole. Raises PermanentRefusal, TemporaryFailure and NoMailServer.
    """
    content = message.as_bytes()
    try:
        with _Session(server, timeout) as client:
            client.sendmail(sender, [recipient], content)
    except OSError as error:  # all of smtplib's errors, and those of sockets
        raise classified(error, recipient) from error
    return len(content)


class _Session:
    """A connection that is greeted, encrypted and logged in as far as the server's URL and offers tell."""

    def __init__(self, server: MailServer, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._client: smtplib.SMTP | None = None

    def __enter__(self) -> smtplib.SMTP:
        self._client = client = self._connected()
        try:
            self._prepare(client)
        except BaseException:
            client.close()
            raise
        return client

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._client is not None
        # The mail was accepted or refused by now: how the server takes its leave must not change that.
        if kind is None:
            with suppress(OSError):
                self._client.quit()
        self._client.close()

    def _connected(self) -> smtplib.SMTP:
        # A name of our own: smtplib would ask the resolver for one, which may take its time.
        host, port, name = self._server.host, self._server.port, socket.gethostname()
        if self._server.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, local_hostname=name, timeout=self._timeout, context=context)
        return smtplib.SMTP(host, port, local_hostname=name, timeout=self._timeout)

    def _prepare(self, client: smtplib.SMTP) -> None:
        client.ehlo_or_helo_if_needed()
        encrypted = self._server.tls
        if not encrypted and client.has_extn("starttls"):
            client.starttls(context=ssl.create_default_context())
            encrypted = True
        if not self._server.user:
            return
        if not encrypted and not self._server.is_local:
            raise NoMailServer(
                f"{self._server.host} offers no encryption, and gets no password without it: use smtps://"
            )
        client.login(self._server.user, self._server.password)
