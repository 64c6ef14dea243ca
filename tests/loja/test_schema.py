"""The API against its own OpenAPI document."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loja.shop import Shop

# The streams of jobs that nobody works on have no end. A title that is an empty list is no part at all in a form, which
# is as it should be: a title is optional.
CONFIG = """
max-stream-events = 1

# Its guesses from headers Location take one operation for another.
[phases.stateful]
inference.algorithms = ["dependency-analysis"]

[[operations]]
include-path = "/videos"
checks.negative_data_rejection.enabled = false
"""


# A cancelled job is still there: `use_after_free` takes DELETE for a removal. The id of a saga may have slashes, so
# GET /sagas/{id} is allowed at each path below it.
@pytest.mark.timeout(180)
def test_schemathesis_finds_nothing(idle_shop: Shop, tmp_path: Path) -> None:
    url = str(idle_shop.client.base_url.join("/openapi.json"))
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        url,
        "--checks",
        "all",
        "--max-examples",
        "10",
        "--seed",
        "1",
    ]
    command += ["--exclude-checks", "use_after_free,allow_header_conformance", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
