"""Lines on the terminal, each behind the coloured name of its process."""

import os
import sys
from typing import TextIO

WIDTH = 10
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Terminal:
    """Prints log lines; colours only where a person reads them. A closed pipe silences it, nothing else."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._numbers: dict[str, int] = {}
        self._closed = False

    def show(self, name: str, lines: list[str]) -> None:
        """Print the lines of one process."""
        if not lines or self._closed:
            return
        head = self._head(name)
        try:
            self._stream.write("".join(f"{head}{line}\n" for line in lines))
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._closed = True

    def _head(self, name: str) -> str:
        text = f"{name:<{WIDTH}} | "
        if not self._coloured:
            return text
        number = self._numbers.setdefault(name, len(self._numbers))
        return f"\x1b[{COLOURS[number % len(COLOURS)]}m{text}\x1b[0m"
