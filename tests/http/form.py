"""Multipart forms written by hand, so that they can be wrong, and sent over plain sockets, so that they can stop."""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

import httpx

BOUNDARY = "limit-of-the-part"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()
TIMEOUT = 30.0


def part(name: str | None, content: bytes, filename: str | None = None, *extra: str) -> bytes:
    """One part with its boundary in front."""
    said = "" if name is None else f'; name="{name}"'
    said += "" if filename is None else f'; filename="{filename}"'
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: form-data{said}", *extra])
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def file_form(content: bytes, filename: str = "vendas.csv") -> bytes:
    """A whole form with one file."""
    return part("file", content, filename) + END


class Line:
    """A connection on which a request is sent byte by byte."""

    def __init__(self, client: httpx.Client, path: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(str(client.base_url))
        self._socket = socket.create_connection((url.hostname, url.port), timeout=TIMEOUT)
        lines = [f"POST {path} HTTP/1.1", f"Host: {url.hostname}", *(f"{key}: {headers[key]}" for key in headers)]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_all(self, chunks: Iterable[bytes]) -> bool:
        """Send without ever reading, as simple clients do; whether all could be sent."""
        with suppress(ConnectionError):
            for chunk in chunks:
                self.send(chunk)
            return True
        return False

    def answer(self) -> bytes:
        """All that the server says until it closes; raises ConnectionResetError where that got lost."""
        said = b""
        while data := self._socket.recv(1 << 16):
            said += data
        return said

    def close(self) -> None:
        """Go away, whatever is still to come."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
