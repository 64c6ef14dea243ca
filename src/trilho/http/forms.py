"""A multipart form that brings one file, taken apart while it arrives. No I/O: what came of the file is handed on."""

from collections.abc import Collection

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MAX_FIELD = 10_000
OVERHEAD = 1 << 16
"""Bytes that a form may have beside its file and its text fields: boundaries, headers of parts, an epilogue."""

_SHOWN = 100


class FormError(ValueError):
    """The form cannot be used; `field` is the one that is wrong, or `body`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field[:_SHOWN]


class FileForm:
    """Takes the body of a request piece by piece; every method raises FormError for what is no such form."""

    def __init__(self, content_type: str, field: str, fields: Collection[str] = ()) -> None:
        self.filename = ""
        self._field = field
        self._texts = {name: bytearray() for name in fields}
        self._seen: set[str] = set()
        self._part: str | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._pieces: list[bytes] = []
        self._complete = False
        self._parser = self._parser_of(content_type)

    def _parser_of(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise FormError("body", f"must be multipart/form-data with a boundary, with a file as `{self._field}`")
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._name_part,
            "on_part_data": self._add,
            "on_end": self._end,
        }
        try:
            return MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
        except FormParserError as wrong:
            raise FormError("body", f"cannot be read as a form: {wrong}") from None

    def feed(self, data: bytes) -> list[bytes]:
        """What these bytes of the body have of the file's content."""
        try:
            self._parser.write(data)
        except FormParserError as wrong:
            raise FormError("body", f"cannot be read as a form: {wrong}") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> dict[str, str]:
        """The text fields of the form, once the whole body was fed."""
        if not self._complete:
            raise FormError("body", "ended before the form did")
        if self._field not in self._seen:
            raise FormError(self._field, "is missing: send the file in this field")
        return {name: _text(name, bytes(value)) for name, value in self._texts.items() if name in self._seen}

    def _begin_part(self) -> None:
        self._part = None
        self._headers = {}

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _name_part(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise FormError("body", "has a part without the name of a field")
        name = _text("body", options[b"name"])
        if name != self._field and name not in self._texts:
            raise FormError(name, f"is not expected: send the file as `{self._field}`")
        if name in self._seen:
            raise FormError(name, "was sent twice")
        if name == self._field:
            self.filename = _filename(name, options)
        self._seen.add(name)
        self._part = name

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._part == self._field:
            self._pieces.append(data[start:end])
            return
        text = self._texts[str(self._part)]
        if len(text) + end - start > MAX_FIELD:
            raise FormError(str(self._part), f"must not have more than {MAX_FIELD:,} bytes")
        text += data[start:end]

    def _end(self) -> None:
        self._complete = True


def _filename(field: str, options: dict[bytes, bytes]) -> str:
    if not options.get(b"filename"):
        raise FormError(field, "must be a file with a name")
    return _text(field, options[b"filename"])


def _text(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FormError(field, "must be UTF-8") from None
