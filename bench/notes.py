"""How far a benchmark is; the tables alone go to the standard output."""

import sys
import time


def note(text: str) -> None:
    """Tell, and when."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
