"""Options that several commands share."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

import typer

APP_HELP = "Where the app is: module[:attribute], as celery's -A. Else TRILHO_APP, else the app of the running stack."

AppOption = Annotated[str | None, typer.Option("-A", "--app", envvar="TRILHO_APP", help=APP_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MAX_INTEGER, MAX_BIGINT = 2**31 - 1, 2**63 - 1
"""The largest partition and the largest offset or number that PostgreSQL and Kafka know."""


def one_of(values: Collection[str]) -> Callable[[str | None], str | None]:
    """The callback of an option that is one of these values, in capital letters or not."""

    def chosen(value: str | None) -> str | None:
        if value is not None and value.upper() not in values:
            raise typer.BadParameter(f"there is no {value!r}: it is one of {', '.join(sorted(values))}")
        return value and value.upper()

    return chosen


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
