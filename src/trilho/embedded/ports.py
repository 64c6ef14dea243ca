"""Loopback ports for private servers."""

import socket
from random import SystemRandom

from trilho.errors import ConfigurationError

HOST = "127.0.0.1"
RANGE = range(20_000, 32_000)
"""Below the ports that outgoing connections take, so that a server can come back on its own after a stop."""


def free_port() -> int:
    """A port of `RANGE` that nobody listens on now."""
    for port in SystemRandom().sample(RANGE, 200):
        if not taken(port):
            return port
    raise ConfigurationError(f"no free port on {HOST} between {RANGE.start} and {RANGE.stop}")


def taken(port: int) -> bool:
    """Whether somebody listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
