"""An SMTP server that delivers nothing: what it accepts is kept in a folder, to be looked at."""

import asyncio
import signal

from aiosmtpd.smtp import SMTP, Envelope, Session

from trilho.embedded.mailbox import Mailbox
from trilho.log import get_logger

LARGEST = 10_000_000
"""Bytes of one message; RFC 5321 asks for 64,000 at least."""
IDLE = 60.0

log = get_logger(__name__)


async def serve(host: str, port: int, mailbox: Mailbox) -> None:
    """Catch mail until SIGINT or SIGTERM; raises OSError where it cannot listen or keep anything."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    mailbox.open()
    server = await loop.create_server(lambda: session(mailbox), host, port)
    log.info("mail.catching", host=host, port=port, folder=str(mailbox.folder))
    await stop.wait()
    server.close()


def session(mailbox: Mailbox) -> SMTP:
    """The protocol of one connection."""
    # A name is given, because aiosmtpd would ask the resolver for one, at every connection.
    return SMTP(
        Catcher(mailbox), hostname="localhost", ident="Trilho", data_size_limit=LARGEST, timeout=IDLE, decode_data=False
    )


class Catcher:
    """What aiosmtpd calls for each message."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the message, then accept it; the sender may take a 250 as a promise that it is on the disk."""
        try:
            kept = await asyncio.to_thread(self._mailbox.store, delivered(envelope))
        except OSError as error:
            log.warning("mail.not_kept", error=str(error))
            return "452 4.3.1 the message could not be stored, try again later"
        recipients, size = ", ".join(envelope.rcpt_tos), len(envelope.original_content or b"")
        log.info("mail.kept", id=kept, sender=envelope.mail_from, recipients=recipients, bytes=size)
        return f"250 2.0.0 kept as {kept}"


def delivered(envelope: Envelope) -> bytes:
    """The message as a final delivery leaves it: behind headers that tell who sent it and whom it was for."""
    told = [("Return-Path", envelope.mail_from or ""), *(("Delivered-To", name) for name in envelope.rcpt_tos)]
    head = "".join(f"{header}: <{_plain(address)}>\r\n" for header, address in told)
    return head.encode() + (envelope.original_content or b"")


def _plain(address: str) -> str:
    # A lone carriage return, or bytes that are no UTF-8, pass the server's parser.
    return "".join(mark for mark in address if mark.isprintable())
