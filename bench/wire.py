"""A TCP proxy that counts round trips: how often a client speaks after its server did."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16


class Wire:
    """Stands before one server for one kind of client; a context manager."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self.turns = 0

    @property
    def url(self) -> str:
        """The server's URL, through here."""
        account, _, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{account}@127.0.0.1:{self._listener.getsockname()[1]}"))

    def __enter__(self) -> Self:
        """Begin to forward."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._listener))
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            link = _Link(self)
            there = link.forward(reader, far_writer, from_client=True)
            back = link.forward(far_reader, writer, from_client=False)
            await asyncio.gather(there, back)


class _Link:
    """One connection: a new round trip begins when the client speaks after silence or after the server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._client_spoke = False

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if from_client and not self._client_spoke:
                    self._wire.turns += 1
                self._client_spoke = from_client
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()
