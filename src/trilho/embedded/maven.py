"""A Java program from Maven Central: its jars are fetched once, then kept in the user's cache."""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from trilho.errors import ConfigurationError

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>trilho</groupId>
  <artifactId>embedded</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_COPY = ("dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars")


def java() -> Path:
    """The Java of this machine; raises ConfigurationError."""
    found = shutil.which("java")
    if found is None:
        raise ConfigurationError(
            "a local Kafka needs Java 17 or newer, and Maven: apt-get install default-jre-headless maven"
        )
    return Path(found)


def has(name: str) -> bool:
    """Whether the folder of this name is in the cache."""
    return _folder(name).is_dir()


def jars(name: str, *coordinates: str) -> Path:
    """The folder with the jars of these artefacts (`group:artefact:version`) and of all that they need.

    `name` is that of the folder in the cache. Raises ConfigurationError where Maven is missing or cannot fetch them.
    """
    kept = _folder(name)
    if not has(name):
        _fetch(kept, coordinates)
    return kept


def _folder(name: str) -> Path:
    return Path.home() / ".cache" / "trilho" / name


def _fetch(kept: Path, coordinates: tuple[str, ...]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError("a local Kafka needs Maven, for its first start: apt-get install maven")
    kept.parent.mkdir(parents=True, exist_ok=True)
    # Under another name first: an interrupted download must not look like a complete one.
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f"{kept.name}.") as unfinished:
        folder = Path(unfinished)
        dependencies = "\n".join(_DEPENDENCY.format(*each.split(":")) for each in coordinates)
        (folder / "pom.xml").write_text(_POM.format(dependencies=dependencies))
        _run([maven, "--batch-mode", "--quiet", *_COPY], folder)
        with suppress(OSError):  # another process was quicker
            (folder / "jars").rename(kept)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or [done.stderr.strip()]
        raise ConfigurationError(f"Maven could not fetch Kafka: {said[0].removeprefix('[ERROR]').strip()[:300]}")
