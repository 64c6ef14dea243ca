"""How a file's bytes are text, found out by reading all of them once."""

import codecs
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 1 << 20

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Survey:
    """Size and encoding of a file; `newlines` counts the bytes that end lines."""

    size: int
    newlines: int
    encoding: str


def survey(stream: BinaryIO) -> Survey:
    """Read the stream to its end and rewind it; memory stays at one chunk of 1 MiB.

    A sample would not do: the first accent of a Latin-1 file may stand in its last line.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = newlines = 0
    start, encoding = b"", "utf-8"
    while chunk := stream.read(CHUNK):
        start = start or chunk[:4]
        size += len(chunk)
        newlines += chunk.count(b"\n")
        encoding = encoding if encoding != "utf-8" else _checked(decoder, chunk)
    encoding = encoding if encoding != "utf-8" else _checked(decoder, b"", final=True)
    stream.seek(0)
    return Survey(size, newlines, _marked(start) or encoding)


def _checked(decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool = False) -> str:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _marked(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)
