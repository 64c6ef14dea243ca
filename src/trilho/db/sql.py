"""Named queries: each `.sql` file beside a store holds statements that begin with a line `-- name: …`."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s")


def load(path: Path) -> Mapping[str, str]:
    """The named queries of one file; raises ValueError when a name stands twice."""
    parts = _HEADER.split(path.read_text(encoding="utf-8"))[1:]
    names, texts = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{path.name} holds a query name twice")
    return MappingProxyType({name: text.strip() for name, text in zip(names, texts, strict=True)})


def beside(module_file: str, name: str) -> Mapping[str, str]:
    """The queries of `name`, a file in the folder of the module that calls."""
    return load(Path(module_file).with_name(name))


def for_sqlalchemy(query: str) -> str:
    """The query with SQLAlchemy's `:name` parameters, for connections whose driver is not ours."""
    return _PARAMETER.sub(r":\1", query)


def positional(query: str) -> tuple[str, tuple[str, ...]]:
    """The query with PostgreSQL's own `$n` parameters, and their names in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(query)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", query), names
