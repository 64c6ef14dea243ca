"""Whether a process does its work by now; `python -m trilho.cli.probes [consumer]` asks it inside a container."""

import http.client
import smtplib
import socket
import sys

import psycopg

from trilho.db.pool import libpq_url
from trilho.settings import load

ANSWER_TIMEOUT = 1.0
CONNECT_TIMEOUT = 2

_REGISTERED = """
    SELECT 1 FROM trilho.processes
    WHERE hostname = %(host)s AND (pid = %(pid)s OR %(pid)s IS NULL)
      AND kind = %(kind)s AND state = 'running' AND seen_at + lease > clock_timestamp()
"""


def answers(host: str, port: int) -> bool:
    """Whether an HTTP server answers, whatever it says."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def greets(host: str, port: int) -> bool:
    """Whether an SMTP server says that it is ready."""
    try:
        smtplib.SMTP(host, port, local_hostname="localhost", timeout=ANSWER_TIMEOUT).close()
    except OSError:
        return False
    return True


def registered(database_url: str, pid: int | None = None, kind: str = "worker") -> bool:
    """Whether the worker (or the process of another kind) with this pid, or any on this machine, holds a lease."""
    try:
        with psycopg.connect(libpq_url(database_url), connect_timeout=CONNECT_TIMEOUT, autocommit=True) as connection:
            found = connection.execute(_REGISTERED, {"host": socket.gethostname(), "pid": pid, "kind": kind}).fetchone()
    except psycopg.Error:
        return False
    return found is not None


if __name__ == "__main__":
    sys.exit(0 if registered(load().require_database(), kind=(sys.argv[1:] or ["worker"])[0]) else 1)
