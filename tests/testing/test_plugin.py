"""The plugin in a project of its own, run by a pytest of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
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


@pytest.fixture
def ordinary_user(postgres_server: str) -> Iterator[tuple[str, str]]:
    """A role that may create databases and nothing else; its name and URL."""
    name = f"tester_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'secret'".encode())
    parts = urlsplit(postgres_server)
    yield name, urlunsplit(parts._replace(netloc=f"{name}:secret@{parts.hostname}:{parts.port}"))
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {name}".encode())


def test_project_is_tested_on_the_server_that_it_names_and_leaves_nothing_there(
    tmp_path: Path, ordinary_user: tuple[str, str], postgres_server: str
) -> None:
    name, url = ordinary_user
    files = {"shop.py": SHOP, "conftest.py": CONFTEST, "test_shop.py": TEST}
    done = run(tmp_path, files, TRILHO_TEST_DATABASE_URL=url)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    with psycopg.connect(postgres_server) as connection:
        mine = "SELECT datname FROM pg_database JOIN pg_roles r ON datdba = r.oid WHERE rolname = %s"
        assert connection.execute(mine, (name,)).fetchall() == []


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
