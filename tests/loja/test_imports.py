"""The shop shows what users can do, so it uses what users have."""

import ast
from collections.abc import Iterator

import trilho
import trilho.http
from tests.lab.servers import ROOT

PUBLIC = {"trilho": set(trilho.__all__), "trilho.http": set(trilho.http.__all__)}


def imports() -> Iterator[tuple[str, str, str]]:
    for path in sorted((ROOT / "src" / "loja").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                yield from ((path.name, node.module or "", alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((path.name, alias.name, "") for alias in node.names)


def test_the_shop_uses_only_public_names_of_trilho() -> None:
    ours = [found for found in imports() if found[1].split(".")[0] == "trilho"]
    assert ours
    assert [found for found in ours if found[2] not in PUBLIC.get(found[1], set())] == []
