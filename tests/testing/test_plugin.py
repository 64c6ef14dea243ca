"""The plugin in a project of its own, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = """
from trilho import Trilho

app = Trilho("shop")

@app.task
def add(x: int, y: int) -> int:
    return x + y
"""
CONFTEST = """
import pytest
from shop import app

pytest_plugins = ["trilho.testing"]

@pytest.fixture
def trilho_app():
    return app
"""
TEST = """
from shop import add

def test_add(trilho):
    result = add.delay(1, y=2)
    trilho.assert_enqueued(add, x=1, y=2)
    trilho.run_until_idle()
    assert result.get(timeout=5) == 3

def test_alone(trilho):
    assert trilho.run_until_idle() == []
"""


def run(folder: Path, files: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    for name, content in files.items():
        (folder / name).write_text(content)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "PYTEST_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    return subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.timeout(120)
def test_project_without_any_server_is_tested_on_an_embedded_one(tmp_path: Path) -> None:
    done = run(tmp_path, {"shop.py": SHOP, "conftest.py": CONFTEST, "test_shop.py": TEST})
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_project_is_tested_on_the_server_that_it_names(tmp_path: Path, postgres_server: str) -> None:
    files = {"shop.py": SHOP, "conftest.py": CONFTEST, "test_shop.py": TEST}
    done = run(tmp_path, files, TRILHO_TEST_DATABASE_URL=postgres_server)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "conftest", ['pytest_plugins = ["trilho.testing"]', "from trilho.testing import trilho  # noqa: F401"]
)
def test_missing_application_is_explained(tmp_path: Path, postgres_server: str, conftest: str) -> None:
    files = {"shop.py": SHOP, "conftest.py": conftest, "test_shop.py": TEST}
    done = run(tmp_path, files, TRILHO_TEST_DATABASE_URL=postgres_server)
    assert "needs a fixture `trilho_app` that returns your Trilho application" in done.stdout
    assert "2 errors" in done.stdout


def test_fixture_that_returns_something_else_is_explained(tmp_path: Path, postgres_server: str) -> None:
    conftest = CONFTEST.replace("return app", "return 5")
    files = {"shop.py": SHOP, "conftest.py": conftest, "test_shop.py": TEST}
    done = run(tmp_path, files, TRILHO_TEST_DATABASE_URL=postgres_server)
    assert "It returned 5." in done.stdout


def test_nothing_is_left_on_the_server(tmp_path: Path, postgres_server: str) -> None:
    import psycopg

    def databases() -> set[str]:
        with psycopg.connect(postgres_server) as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'trilho_test_%'")
            return {name for (name,) in rows}

    before = databases()
    run(
        tmp_path,
        {"shop.py": SHOP, "conftest.py": CONFTEST, "test_shop.py": TEST},
        TRILHO_TEST_DATABASE_URL=postgres_server,
    )
    assert databases() - before == set()
