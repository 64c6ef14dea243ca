"""How bytes become text."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.sales import encoding
from loja.sales.encoding import survey


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("date,café\n".encode(), "utf-8"),
        ("date,café\n".encode("utf-8-sig"), "utf-8-sig"),
        ("date,café\n".encode("latin-1"), "latin-1"),
        ("date,café\n".encode("utf-16"), "utf-16"),
        (b"plain\n", "utf-8"),
        (b"", "utf-8"),
        ("cut in a character: é".encode()[:-1], "latin-1"),
    ],
)
def test_encoding_is_found(content: bytes, expected: str) -> None:
    assert survey(io.BytesIO(content)).encoding == expected


def test_an_accent_in_the_last_line_decides() -> None:
    content = b"2025-01-01,sul,Livro,1,1.00\n" * 100_000 + "Açúcar".encode("latin-1")
    assert survey(io.BytesIO(content)).encoding == "latin-1"


def test_a_character_cut_by_the_chunk_border_is_still_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 3)
    assert survey(io.BytesIO("aéééé€€€".encode())).encoding == "utf-8"


@given(st.binary())
def test_what_is_found_decodes_all_text_without_marks(content: bytes) -> None:
    stream = io.BytesIO(content)
    found = survey(stream)
    assert (found.size, found.newlines, stream.tell()) == (len(content), content.count(b"\n"), 0)
    if found.encoding in {"utf-8", "latin-1"}:
        assert content.decode(found.encoding).encode(found.encoding) == content
