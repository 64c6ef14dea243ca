"""Whether a process does its work by now; `python -m trilho.cli.probes` asks it for the worker of a container."""

import http.client
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
      AND kind = 'worker' AND state = 'running' AND seen_at + lease > clock_timestamp()
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


def registered(database_url: str, pid: int | None = None) -> bool:
    """Whether the worker with this pid (or any worker) on this machine holds a lease in the database."""
    try:
        with psycopg.connect(libpq_url(database_url), connect_timeout=CONNECT_TIMEOUT, autocommit=True) as connection:
            found = connection.execute(_REGISTERED, {"host": socket.gethostname(), "pid": pid}).fetchone()
    except psycopg.Error:
        return False
    return found is not None


if __name__ == "__main__":
    sys.exit(0 if registered(load().require_database()) else 1)
