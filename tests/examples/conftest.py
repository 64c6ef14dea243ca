"""The examples, copied to a folder of their own, as somebody does who tries them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.servers import scratch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A copy of the examples."""
    with scratch() as path:
        for file in EXAMPLES.glob("*.py"):
            shutil.copy(file, path)
        yield path
