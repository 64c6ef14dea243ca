"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

APP_HELP = "Where the app is: module[:attribute], as celery's -A. Else TRILHO_APP, else the app of the running stack."

AppOption = Annotated[str | None, typer.Option("-A", "--app", envvar="TRILHO_APP", help=APP_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _export(folder: Path) -> Path:
    # The app, which is loaded later, and every child process must see the same folder.
    os.environ["TRILHO_DATA"] = str(folder)
    return folder


DataOption = Annotated[
    Path,
    typer.Option(
        "--data", envvar="TRILHO_DATA", callback=_export, file_okay=False, help="Folder of the stack that `up` runs."
    ),
]
DEFAULT_DATA = Path(".trilho")
