"""One caught mail, read from its bytes, which anybody may have sent: nothing in it is taken on trust."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32

MAX_FILENAME = 100


@dataclass(frozen=True, slots=True)
class CaughtFile:
    """An attachment."""

    filename: str
    type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CaughtMail:
    """What a person wants to see of a mail."""

    headers: tuple[tuple[str, str], ...]
    text: str | None = None
    html: str | None = None
    files: tuple[CaughtFile, ...] = ()

    def header(self, name: str) -> str:
        """The first header of this name; empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def read_headers(content: bytes) -> CaughtMail:
    """The headers alone."""
    return CaughtMail(headers_of(BytesHeaderParser(policy=compat32).parsebytes(content)))


def read(content: bytes) -> CaughtMail:
    """Everything; what the parser cannot take apart is shown as text."""
    # The older policy: its parser of structured headers raises at headers that are none.
    try:
        message = BytesParser(policy=compat32).parsebytes(content)
        leaves = list(_leaves(message))
    except RecursionError:
        return CaughtMail((), text=content[:100_000].decode(errors="replace"))
    bodies = [part for part in leaves if not _is_file(part)]
    files = [part for part in leaves if _is_file(part)]
    return CaughtMail(
        headers_of(message),
        text=_first(bodies, "text/plain"),
        html=_first(bodies, "text/html"),
        files=tuple(_file(number, part) for number, part in enumerate(files)),
    )


def headers_of(message: Message) -> tuple[tuple[str, str], ...]:
    """All headers in their order, decoded, each on one line."""
    return tuple((_one_line(name), _decoded(value)) for name, value in message.raw_items())


def _leaves(message: Message) -> Iterator[Message]:
    for part in message.walk():
        if not part.is_multipart():
            yield part


def _is_file(part: Message) -> bool:
    named = part.get_filename() is not None or part.get_content_disposition() == "attachment"
    return named or part.get_content_type() not in {"text/plain", "text/html"}


def _first(parts: list[Message], kind: str) -> str | None:
    return next((_text(part) for part in parts if part.get_content_type() == kind), None)


def _text(part: Message) -> str:
    content = _content(part)
    try:
        text = content.decode(part.get_content_charset("utf-8"), errors="replace")
    except (LookupError, ValueError):
        text = content.decode(errors="replace")
    return text.encode(errors="replace").decode()  # some encodings can say half a character, which no page can


def _file(number: int, part: Message) -> CaughtFile:
    return CaughtFile(_filename(part.get_filename()) or f"part-{number}", part.get_content_type(), _content(part))


def _filename(given: str | None) -> str:
    """A plain name: a mail must not choose the folder in which a browser saves its attachment."""
    plain = _decoded(given or "").replace("\\", "/").rpartition("/")[2]
    return plain.strip(" .")[:MAX_FILENAME]


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _decoded(value: object) -> str:
    text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with suppress(LookupError, ValueError, MessageError):  # an encoding that nobody has, or one that is broken
        text = str(make_header(decode_header(text)))
    return _one_line(text)


def _one_line(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in " ".join(text.split()))
