"""`trilho consumer`: a process that handles events."""

import gc
import logging
import signal
import threading
from typing import Annotated

import typer

from trilho.cli.finder import load_app
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption
from trilho.errors import NoHandlers

GroupsOption = Annotated[
    list[str] | None, typer.Option("-g", "--group", help="Only these groups; may be given several times.")
]


def consumer(
    *,
    group: GroupsOption = None,
    name: Annotated[str, typer.Option("-n", "--name", help="What to call this process.")] = "consumer",
    concurrency: Annotated[int, typer.Option("-c", "--concurrency", min=1, help="Threads that run handlers.")] = 4,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Handle the events that the app subscribes to, until SIGTERM; an app without handlers is no error."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(message)s")
    found = load_app(app, data)
    # Thousands of fetched events are alive at any time: by default the collector looks at them over and over.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        found.run_consumer(stop, groups=group or (), name=name, concurrency=concurrency)
    except NoHandlers as error:
        typer.echo(f"nothing to do: {error}")
