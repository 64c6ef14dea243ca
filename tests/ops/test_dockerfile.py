"""The image: small, not root, and made of files that the build context holds."""

import fnmatch
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.ops.compose import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = re.split(r"(?m)^(?=FROM )", DOCKERFILE)[1:]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a top-level path out of the build context; the last matching line decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().split():
        if fnmatch.fnmatch(path, line.removeprefix("!")):
            verdict = not line.startswith("!")
    return verdict


def test_it_is_built_in_stages_on_one_base() -> None:
    assert len(STAGES) == 2
    assert len({stage.split()[1] for stage in STAGES}) == 1


def test_the_final_image_does_not_run_as_root_and_owns_its_data() -> None:
    user = re.findall(r"(?m)^USER (\S+)", STAGES[-1])
    assert user == ["trilho"]
    assert "install -d -o trilho -g trilho /data" in STAGES[-1]


def test_the_image_has_what_the_shop_needs_beside_the_library() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["loja"]
    [install] = re.findall(r"(?m)^RUN pip install .*\[http,mail,kafka,flower\].*", STAGES[0])
    assert {re.split(r"[><=]", need)[0] for need in needed} <= set(install.split())


def test_everything_that_is_copied_is_in_the_build_context() -> None:
    for line in re.findall(r"(?m)^COPY (?!--from)(.+)", DOCKERFILE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not ignored(source.split("/")[0]), source


def test_what_is_private_stays_out_of_the_build_context() -> None:
    assert all(ignored(name) for name in (".git", ".venv", ".trilho", ".env", "tests"))


def test_the_wheel_that_it_installs_holds_only_the_library(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"trilho"}
    assert {"trilho/py.typed", "trilho/jobs/jobs.sql", "trilho/embedded/leash.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
