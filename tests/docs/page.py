"""The code of a documentation page, as its reader would run it.

A block of Python that begins with ```python run is run, in order, and so is what stands in a comment that begins with
`<!-- run`: the page's own checks, which no reader sees. ```python file=NAME and ```bash run=NAME are taken by name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_RUN = re.compile(r"^(?:```python run|<!-- run)\n(?P<code>.*?)^(?:```|-->)$", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    def script(self) -> str:
        """Everything that is to be run, each line where it stands in the page, so that a traceback shows the page."""
        lines = [""] * self.text.count("\n")
        for block in _RUN.finditer(self.text):
            first = self.text.count("\n", 0, block.start("code"))
            for offset, line in enumerate(block["code"].splitlines()):
                lines[first + offset] = line
        return "\n".join(lines).rstrip("\n")

    def blocks(self, info: str) -> list[str]:
        """The blocks with this info string, such as `python file=shop.py`; AssertionError if there is none."""
        found = [block["code"] for block in _FENCE.finditer(self.text) if block["info"] == info]
        assert found, f"{self.path.name} has no block ```{info}"
        return found
