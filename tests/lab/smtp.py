"""A mail server in this process that can be made to misbehave, on aiosmtpd."""

import asyncio
import email
import socket
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage
from email.policy import default
from typing import Any, Literal, Self

from aiosmtpd.smtp import SMTP, AuthResult

Mood = Literal["accepts", "unknown user", "mailbox full", "busy", "slow", "cuts", "accepts and cuts", "rude"]
FOREVER = 3600.0


class MailServer:
    """Answers by its mood; `mails` are those that it took, `asked` counts recipients that were named.

    `slow` says nothing after the last byte of a mail, and keeps none; `cuts` resets the connection in the middle of the
    data; `accepts and cuts` keeps the mail, and resets the connection before it could say so; `rude` takes the
    mail and then minds being left.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, starttls: bool = False, password: str = "") -> None:
        self.mood: Mood = "accepts"
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.asked = 0
        self._options: dict[str, Any] = {"hostname": "lab", "tls_context": tls if starttls else None}
        if password:
            self._options |= {"auth_require_tls": False, "authenticator": _only("ana", password)}
        self._ssl = None if starttls else tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="lab-smtp", daemon=True)

    @property
    def url(self) -> str:
        """Where it is reached, without TLS."""
        return f"smtp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def behave(self, mood: Mood = "accepts") -> None:
        """Answer like this from now on, with nothing received yet."""
        self.mood, self.mails, self.envelopes, self.asked = mood, [], [], 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        self.asked += 1
        if self.mood == "unknown user":
            return "550 5.1.1 no such user here"
        if self.mood == "busy":
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: "_Protocol", _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.mood == "mailbox full":
            return "552 5.2.2 the mailbox is full"
        if self.mood == "slow":
            await asyncio.sleep(FOREVER)
        message = email.message_from_bytes(envelope.original_content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        if self.mood == "accepts and cuts":
            server.transport.abort()
            await asyncio.sleep(FOREVER)
        return "250 2.0.0 OK"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
        return "554 stay here" if self.mood == "rude" else "221 2.0.0 bye"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        make = self._loop.create_server(lambda: _Protocol(self, **self._options), sock=self._listener, ssl=self._ssl)
        server = self._loop.run_until_complete(make)
        self._up.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(_ended())
        self._loop.close()


class _Protocol(SMTP):
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if self.event_handler.mood != "cuts":
            await super().smtp_DATA(arg)
            return
        await self.push("354 go ahead")
        await self._reader.readline()
        self.transport.abort()
        await asyncio.sleep(FOREVER)


def _only(user: str, password: str) -> Any:
    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (user.encode(), password.encode()), handled=False)

    return check


async def _ended() -> None:
    """Every open connection, so that no task is torn."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    for task in others:
        with suppress(asyncio.CancelledError, Exception):
            await task
