"""What the documentation tells people to type exists, and what it points to is there."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from trilho.cli.root import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
COMMANDS = set(get_command(cli).commands)  # type: ignore[attr-defined]

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def typed(page: Path, program: str) -> set[str]:
    """The first words after a program's name at the start of a command in a page's code."""
    code = "\n".join(_CODE.findall(page.read_text()))
    return set(re.findall(rf"(?m)(?:^|[`;&|(]\s*){program} ([a-z][a-z-]*)\b", code))


@pages
def test_every_make_target_exists(page: Path) -> None:
    assert typed(page, "make") - TARGETS == set()


@pages
def test_every_trilho_command_exists(page: Path) -> None:
    assert typed(page, "trilho") - COMMANDS == set()


@pages
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    missing = [target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []


def test_there_are_pages_to_look_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {page.name for page in PAGES}
