"""Projects and their stacks."""

import os
from collections.abc import Iterator

import pytest

from tests.cli.project import Project, Up
from tests.lab.servers import scratch


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """As it was: a command that is run in this process tells TRILHO_DATA to whatever it starts."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


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
