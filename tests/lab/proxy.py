"""A TCP proxy that breaks the network between two real programs, switchable while they talk."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

Mode = Literal["pass", "refuse", "black-hole", "half-open"]
LINGER_ZERO = struct.pack("ii", 1, 0)
SETTLE = 0.2
"""Seconds between the last bytes given to a server and the reset: time to commit, no time to answer."""


@dataclass(eq=False)
class Link:
    """One proxied connection; `awaited` are the patterns still to be seen on it before it is reset."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    awaited: list[bytes] | None = None

    def reset(self) -> None:
        for writer in (self.client, self.server):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            writer.transport.abort()


class FaultProxy:
    """Forwards a port of its own to `host:port`. Modes: `pass`; `refuse` new connections; `black-hole`
    holds back both directions without a reset, `half-open` only what the server says; it flows again later."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._mode: Mode = "pass"
        self._delay = 0.0
        self._patterns: list[bytes] = []
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = self.refused = 0
        self._thread = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.set("pass")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def set(self, mode: Mode = "pass", *, delay: float = 0.0) -> None:
        """Switch the mode for open and new connections; `delay` seconds are added to every chunk."""
        self._mode, self._delay = mode, delay

    def cut(self) -> None:
        """Close every open connection with a reset, as a crashed peer or an eager firewall does."""
        self._call(self._reset_all)

    def cut_after(self, *patterns: bytes) -> None:
        """Reset the first connection on which the client sends these in turn, once the server got the last one;
        its answer is swallowed."""
        self._call(lambda: self._arm(list(patterns)))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._listener))
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._drain())
        self._loop.close()

    async def _drain(self) -> None:
        """Cut what is open until every connection has noticed, so that no task is torn."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            self._reset_all()
            await asyncio.wait(others, timeout=0.1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._mode == "refuse":
                self.refused += 1
                raise ConnectionRefusedError
            answers, server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server)
        self._links.add(link)
        pumps = self._upwards(link, reader), self._downwards(link, answers)
        await asyncio.gather(*pumps, return_exceptions=True)
        self._links.discard(link)

    async def _upwards(self, link: Link, source: asyncio.StreamReader) -> None:
        while chunk := await source.read(65536):
            await self._held_by("black-hole")
            last = self._completes(link, chunk)
            link.server.write(chunk)
            await link.server.drain()
            if last:
                await asyncio.sleep(SETTLE)
                self._reset(link)
        link.server.close()

    async def _downwards(self, link: Link, source: asyncio.StreamReader) -> None:
        while chunk := await source.read(65536):
            await self._held_by("black-hole", "half-open")
            if link.awaited == []:
                continue
            link.client.write(chunk)
            await link.client.drain()
        link.client.close()

    async def _held_by(self, *modes: Mode) -> None:
        await asyncio.sleep(self._delay)
        while self._mode in modes:
            await asyncio.sleep(0.02)

    def _arm(self, patterns: list[bytes]) -> None:
        self._patterns = patterns
        for link in self._links:
            link.awaited = None

    def _completes(self, link: Link, chunk: bytes) -> bool:
        if not self._patterns:
            return False
        link.awaited = list(self._patterns) if link.awaited is None else link.awaited
        while link.awaited and link.awaited[0] in chunk:
            link.awaited.pop(0)
        if link.awaited:
            return False
        self._patterns = []
        return True

    def _reset_all(self) -> None:
        for link in list(self._links):
            self._reset(link)

    def _reset(self, link: Link) -> None:
        self.cuts += 1
        link.reset()

    def _call(self, action: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(timeout=5)
