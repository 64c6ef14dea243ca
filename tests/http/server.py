"""A real HTTP server in a thread of the test."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import uvicorn
from fastapi import FastAPI

TIMEOUT = 30.0


@contextmanager
def served(api: FastAPI) -> Iterator[httpx.Client]:
    """A client of this API; requests wait in the socket's backlog until the server is up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(api, log_level="critical", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        port = listener.getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(TIMEOUT)
