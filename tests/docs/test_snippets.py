"""The Python in the documentation runs, on a real PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import PAGES, Page

WITH_CODE = [Page(path) for path in PAGES if path.exists() and Page(path).script()]


@pytest.mark.parametrize("page", WITH_CODE, ids=[page.path.name for page in WITH_CODE])
def test_code_of_a_page_runs(page: Page, database: str, valkey: str, tmp_path: Path) -> None:
    script = tmp_path / f"{page.path.stem}.py"
    script.write_text(page.script(), encoding="utf-8")
    urls = {"TRILHO_DATABASE_URL": database, "TRILHO_BROKER_URL": valkey}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ | urls, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page.path}:\n{done.stdout}{done.stderr}"
