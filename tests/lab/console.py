"""Kafka's own console tools, as an administrator of the cluster runs them."""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.lab.servers import missing
from trilho.embedded.kafka import ARTEFACTS, VERSION
from trilho.embedded.maven import jars, java

TOOLS = "4.3.0"
"""The tools are an artefact of their own, which may come later than the broker's."""


def run(program: str, *arguments: str) -> str:
    """What a main class of the tools prints."""
    path = f"{_tools()}/*:{jars(f'kafka-{VERSION}', *ARTEFACTS)}/*"
    command = [str(java()), "-Xmx256m", "-cp", path, program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _tools() -> Path:
    kept = Path.home() / ".cache" / "trilho" / f"kafka-tools-{TOOLS}"
    if not kept.is_dir():
        _fetch(kept)
    return kept


def _fetch(kept: Path) -> None:
    # Without what it depends on: most of that is beside the broker, and the rest is for tools that are not run here.
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f"{kept.name}.") as unfinished:
        copy = [f"-Dartifact=org.apache.kafka:kafka-tools:{TOOLS}", f"-DoutputDirectory={unfinished}/jars"]
        command = [shutil.which("mvn") or "mvn", "--batch-mode", "--quiet", "dependency:copy", *copy]
        done = subprocess.run(command, cwd=unfinished, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            missing("Kafka's console tools", f"Maven: {done.stdout.strip()[:300]}")
        with suppress(OSError):  # another process was quicker
            Path(unfinished, "jars").rename(kept)
