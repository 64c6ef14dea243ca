"""The page of an operation, and the one that says that there is none."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined

from trilho.dashboard.axis import Axis, duration
from trilho.dashboard.facts import MOST_COUNTED
from trilho.dashboard.operation import Entry, Operation

WORDS = MappingProxyType(
    {
        "ok": "went well",
        "running": "runs",
        "waiting": "waits",
        "failed": "failed",
        "undone": "ended early, or was undone",
        "plain": "happened",
    }
)
"""What the colours say."""

STATIC: Mapping[str, str] = MappingProxyType({"timeline.css": "text/css", "timeline.js": "text/javascript"})
"""Files beside the pages, and their types."""


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("trilho.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": WORDS, "duration": duration, "most_counted": MOST_COUNTED}
    return environment


@cache
def static_file(name: str) -> bytes:
    """The content of one of `STATIC`."""
    return files("trilho.dashboard").joinpath("static", name).read_bytes()


def rendered(operation: Operation, root: str) -> str:
    """The page as HTML; `root` is the path under which the API is mounted."""
    axis = Axis.of(operation)
    values = {
        "operation": operation,
        "axis": axis,
        "rows": [
            (entry, [axis.bar(span) for span in entry.spans], took(entry, operation)) for entry in operation.entries
        ],
        "version": version_of(operation),
        "root": root,
    }
    return _templates().get_template("operation.html").render(values)


def rendered_missing(wanted: str, root: str) -> str:
    """The page for an id that nothing has."""
    return _templates().get_template("missing.html").render({"wanted": wanted, "root": root})


def took(entry: Entry, operation: Operation) -> str:
    """How long an entry lasted, or has lasted so far."""
    if entry.start is None:
        return ""
    seconds = ((entry.end or operation.now) - entry.start).total_seconds()
    if entry.end == entry.start:
        return ""
    return duration(max(0.0, seconds)) + ("" if entry.end else " so far")


def version_of(operation: Operation) -> str:
    """The same as long as nothing has happened."""
    text = operation.model_dump_json(exclude={"now", "id"})
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
