"""The project of `docs/testing.md` tests itself."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.page import ROOT, Page

FILES = ("conftest.py", "shop.py", "test_shop.py")


def test_tests_of_the_page_pass(postgres_server: str, tmp_path: Path) -> None:
    page = Page(ROOT / "docs" / "testing.md")
    for name in FILES:
        [text] = page.blocks(f"python file={name}")
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"TRILHO_TEST_DATABASE_URL": postgres_server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
