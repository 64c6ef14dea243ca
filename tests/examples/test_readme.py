"""What the README tells people to paste works, pasted as it stands."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.page import ROOT, Page
from tests.docs.shell import Shell, running
from tests.lab.poll import eventually
from tests.lab.servers import scratch

README = Page(ROOT / "README.md")
SHOP = ("-A", "loja.app", "--api", "loja.web:api")

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with the virtual environment where the README expects it."""
    with scratch() as path:
        (path / ".venv").symlink_to(sys.prefix)
        yield path


def pasted(shell: Shell, name: str) -> str:
    """What a block of the README prints."""
    [script] = README.blocks(f"bash run={name}")
    return shell.run(script)


def states(shell: Shell) -> Counter[str]:
    """How many jobs are in which state."""
    jobs = json.loads(shell.run("trilho jobs list --limit 1000 --json"))["items"]
    return Counter(job["state"] for job in jobs)


def test_shop_of_the_readme_does_its_work_and_survives(folder: Path) -> None:
    with running(folder, *SHOP, LOJA_FAILURE_RATE="0", TRILHO_LEASE="3") as shell:
        printed = pasted(shell, "shop")
        assert '"status": "PENDING"' in printed
        assert '"finished_per_minute"' in printed
        assert "4 workers: worker, worker-2, worker-3, worker-4" in printed
        eventually(lambda: states(shell), lambda seen: seen == {"SUCCESS": 17}, timeout=60, every=0.5)
        pasted(shell, "hurt")
        eventually(lambda: states(shell), lambda seen: seen == {"SUCCESS": 37}, timeout=60, every=0.5)


def test_project_of_the_readme_runs(folder: Path) -> None:
    [code] = README.blocks("python file=shop.py")
    (folder / "shop.py").write_text(code, encoding="utf-8")
    with running(folder, "-A", "shop", "--api", "shop:api", "--workers", "1") as shell:
        printed = pasted(shell, "own")
        assert "Welcome, rui@example.com!" in printed
        assert "1 node online" in printed
        eventually(lambda: states(shell), lambda seen: seen == {"SUCCESS": 2}, timeout=30, every=0.5)
