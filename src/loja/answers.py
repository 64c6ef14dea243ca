"""What routes say about their answers."""

from typing import Any

from trilho.http import documented


def problem(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    """A problem document that means something of its own on a route."""
    return {status: {**documented(status)[status], "description": description}}
