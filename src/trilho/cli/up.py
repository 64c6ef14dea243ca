"""`trilho up`: a whole stack on one machine."""

from typing import Annotated

import typer

from trilho.cli.finder import app_name
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption
from trilho.cli.plan import Plan
from trilho.errors import ConfigurationError
from trilho.settings import Settings

ApiOption = Annotated[str | None, typer.Option("--api", metavar="MODULE:ATTRIBUTE", help="ASGI app to serve as well.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, max=100, help="How many workers.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Loopback port of the API.")]


def up(
    app: AppOption = None,
    api: ApiOption = None,
    workers: WorkersOption = 2,
    port: PortOption = 8000,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Start PostgreSQL, Valkey, a mail catcher, the API, a consumer and workers; supervise them; Ctrl-C stops all.

    TRILHO_DATABASE_URL, TRILHO_BROKER_URL and TRILHO_SMTP_URL, where set, are used instead of servers of its own.
    """
    try:
        from trilho.cli.launch import Launch  # noqa: PLC0415 - needs an optional extra
    except ImportError as error:
        raise ConfigurationError('`trilho up` needs psutil: pip install "trilho[embedded]"') from error
    name = app_name(app, data)
    Launch(Plan(app=name, data=data.resolve(), api=api, port=port, workers=workers), Settings()).run()
