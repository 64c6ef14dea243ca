"""What the documentation lists is what the code has."""

import re

import pytest

from tests.docs.page import ROOT, Page
from trilho.settings import Settings

PACKAGE = ROOT / "src" / "trilho"
ARCHITECTURE = Page(ROOT / "docs" / "architecture.md").text
README = Page(ROOT / "README.md").text


def cells(text: str, column: int) -> list[str]:
    """The code in one column of all tables of a page."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [name for row in rows if len(row) > column for name in re.findall(r"`([^`]+)`", row[column])]


def test_every_fault_point_is_described_and_no_other() -> None:
    hit = {point for path in PACKAGE.rglob("*.py") for point in re.findall(r'\.hit\("([a-z._]+)"\)', path.read_text())}
    described = {name for name in cells(ARCHITECTURE, 0) if re.fullmatch(r"[a-z_]+\.[a-z_]+", name)}
    assert described - {path.name for path in PACKAGE.iterdir()} == hit


def test_every_folder_and_file_of_the_package_is_described() -> None:
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.name not in {"__init__.py", "__pycache__", "py.typed"}
    }
    assert there == {name for name in cells(ARCHITECTURE, 0) if "/" in name or name.endswith(".py")} - {"src/trilho/"}


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields)))
def test_every_setting_is_in_the_readme_with_its_default(name: str) -> None:
    [line] = [line for line in README.splitlines() if line.startswith(f"| `TRILHO_{name.upper()}` |")]
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    assert line.split(" | ")[1].strip("`") == written(default)


def written(default: object) -> str:
    """A default as one would export it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default in (None, "", {}) else str(default)


def test_no_other_setting_is_in_the_readme() -> None:
    described = set(re.findall(r"^\| `TRILHO_([A-Z_]+)` \|", README, re.MULTILINE))
    assert described == {name.upper() for name in Settings.model_fields}
