"""Types of the public names, as mypy and pyright see them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.servers import ROOT, missing

USAGE = Path(__file__).with_name("usage.py")
EXPECTED = {number for number, line in enumerate(USAGE.read_text().splitlines(), 1) if re.search(r"# error$", line)}


def mypy(path: Path) -> set[int]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--no-incremental",
        "--cache-dir",
        "/dev/null",
    ]
    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = re.findall(rf"^{re.escape(str(path.relative_to(ROOT)))}:(\d+): error", done.stdout, re.MULTILINE)
    others = [line for line in done.stdout.splitlines() if ": error" in line and path.name not in line]
    assert not others, done.stdout
    return {int(number) for number in lines}


def pyright(path: Path) -> set[int]:
    if shutil.which("node") is None:
        missing("Node.js", "pyright needs it; apt-get install nodejs")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_use_is_accepted_and_wrong_use_is_an_error(checker: Callable[[Path], set[int]]) -> None:
    found = checker(USAGE)
    lines = USAGE.read_text().splitlines()
    assert {number: lines[number - 1] for number in found ^ EXPECTED} == {}


def test_expectations_are_there() -> None:
    assert len(EXPECTED) > 15
