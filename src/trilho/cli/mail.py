"""`trilho mail`: the mail catcher as a process of its own."""

import asyncio
import logging
from typing import Annotated

import typer

from trilho.cli.options import DEFAULT_DATA, DataOption
from trilho.embedded.mailbox import FOLDER, Mailbox
from trilho.errors import ConfigurationError

HostOption = Annotated[str, typer.Option("--host", help="Address; one off loopback takes mail from everybody.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535)]


def mail(host: HostOption = "127.0.0.1", port: PortOption = 1025, data: DataOption = DEFAULT_DATA) -> None:
    """Catch mail: an SMTP server that delivers nothing and keeps the newest 1,000 messages in DATA/mail."""
    try:
        from trilho.embedded.mail import serve  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigurationError('`trilho mail` needs aiosmtpd: pip install "trilho[mail]"') from error
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(message)s")
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's own, a line for every command
    asyncio.run(serve(host, port, Mailbox(data / FOLDER)))
