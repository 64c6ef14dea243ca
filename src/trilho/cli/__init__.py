"""The command line `trilho`."""

from trilho.cli.root import main

__all__ = ["main"]
