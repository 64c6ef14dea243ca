"""Projects and their stacks."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.project import Project, Up
from tests.lab.servers import scratch
from trilho import Trilho
from trilho.cli.finder import load_app


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """As it was: a command that is run in this process tells TRILHO_DATA to whatever it starts."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def load(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Trilho]]:
    """Makes an application of source text the one that commands in this process use."""
    with ExitStack() as stack:

        def loaded(source: str) -> Trilho:
            module = f"shop_{uuid4().hex}"
            (tmp_path / f"{module}.py").write_text(source)
            monkeypatch.chdir(tmp_path)
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.setenv("TRILHO_DATABASE_URL", database)
            monkeypatch.setenv("TRILHO_APP", module)
            app = load_app(module, tmp_path)
            stack.callback(app.close)
            stack.callback(app.database.close)
            return app

        yield loaded


@pytest.fixture
def project() -> Iterator[Project]:
    """A project in which nothing runs."""
    with scratch() as folder:
        yield Project.create(folder)


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[Project, Up]]:
    """A project whose stack runs, shared by the tests of one file, which leave it as they found it."""
    with scratch() as folder:
        project = Project.create(folder)
        with project.up("--api", "web:api") as up:
            yield project, up
