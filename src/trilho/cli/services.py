"""`trilho api | worker | dispatcher | migrate`: one process each, for production or a process manager."""

import ipaddress
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from trilho.cli.finder import app_name, load_app
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption
from trilho.cli.plan import WORKER, worker_arguments
from trilho.errors import ConfigurationError
from trilho.settings import Settings, load

GRACEFUL_SECONDS = 5

AsgiArgument = Annotated[str, typer.Argument(metavar="MODULE:ATTRIBUTE", help="The ASGI app, as uvicorn takes it.")]
HostOption = Annotated[str, typer.Option("--host", help="Address; one off loopback needs TRILHO_API_KEY.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535)]


def api(
    target: AsgiArgument, host: HostOption = "127.0.0.1", port: PortOption = 8000, data: DataOption = DEFAULT_DATA
) -> None:
    """Serve an ASGI app with uvicorn."""
    check_binding(host, load(data=data))
    try:
        import uvicorn  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigurationError('the HTTP side is not installed: pip install "trilho[http]"') from error
    # A bound: open streams (server-sent events) would otherwise hold the process for ever.
    uvicorn.run(target, host=host, port=port, app_dir=str(Path.cwd()), timeout_graceful_shutdown=GRACEFUL_SECONDS)


def check_binding(host: str, settings: Settings) -> None:
    """Raises ConfigurationError where strangers could reach an API that asks for no key."""
    if _is_loopback(host) or settings.api_key or settings.api_keyless:
        return
    raise ConfigurationError(
        f"{host} can be reached from other machines: set TRILHO_API_KEY (or TRILHO_API_KEYLESS=1 where something else "
        "keeps strangers out, such as a container whose port is published on 127.0.0.1 only)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def worker(context: typer.Context, app: AppOption = None, data: DataOption = DEFAULT_DATA) -> None:
    """Run a Celery worker; every other option is passed on to `celery worker`."""
    name = app_name(app, data)
    if not load(data=data).database_url:  # Celery would tell it behind a traceback
        load_app(name, data).settings.require_database()
    program = worker_arguments(name, WORKER, context.args)
    os.execv(sys.executable, program)  # noqa: S606


def dispatcher(app: AppOption = None, data: DataOption = DEFAULT_DATA) -> None:
    """Run the loops that keep promises (due jobs, recovery, resends) without a worker, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(message)s")
    found = load_app(app, data)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    found.run_dispatcher(stop)


def migrate(app: AppOption = None, data: DataOption = DEFAULT_DATA) -> None:
    """Bring the schema `trilho`, and what the app adds to it, up to date; safe to run several times at once."""
    load_app(app, data).migrate()
    typer.echo("the database is up to date")
