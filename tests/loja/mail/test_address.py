"""Which addresses are taken."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loja.mail.address import MAX_ADDRESS, SCHEMA, check_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("eu@empresa.com", "eu@empresa.com"),
        ("Eu.Mesmo+tag@Empresa.COM.br", "Eu.Mesmo+tag@empresa.com.br"),
        ("eu@café.com.br", "eu@xn--caf-dma.com.br"),
    ],
)
def test_an_address_is_taken_with_its_domain_in_ascii(text: str, address: str) -> None:
    assert check_address(text) == address


BAD = [
    "", "eu", "eu@", "@empresa.com", "eu@empresa", "eu@@empresa.com", "eu empresa@x.com", "é@empresa.com", "eu@[::1]",
    "eu@empresa.com\n", "eu@empresa.com\r\nBcc: x@y.com", "Eu <eu@empresa.com>", "eu@empresa..com", "a" * 65 + "@x.com",
    "eu@" + "a" * 250 + ".com", '"a b"@x.com', "eu@localhost", "eu@x.test", "eu@x.com,b@y.com", "\x00@x.com",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=ascii)
def test_what_is_no_address_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_address(text)


labels = st.from_regex(r"[A-Za-z0-9]{1,9}(-[A-Za-z0-9]{1,9}){0,2}", fullmatch=True)
atoms = st.from_regex("[A-Za-z0-9_+-]{1,7}", fullmatch=True)


@given(
    st.lists(atoms, min_size=1, max_size=4), st.lists(labels, min_size=1, max_size=3), st.sampled_from(["br", "COM"])
)
def test_what_the_documentation_allows_is_taken(local: list[str], domain: list[str], last: str) -> None:
    text = f"{'.'.join(local)}@{'.'.join([*domain, last])}"
    assert re.search(SCHEMA["pattern"], text)
    assert check_address(text).lower() == text.lower()


@pytest.mark.parametrize("mark", ["a", "-"])
def test_the_longest_that_the_documentation_allows_is_taken(mark: str) -> None:
    label = "a" + ("-a" if mark == "-" else "a") * 31
    text = f"{'a' + '.a' * 31}@{label}.{label}.{label[:30]}a.{'b' * 24}"
    assert re.search(SCHEMA["pattern"], text)
    assert len(text) <= MAX_ADDRESS
    assert check_address(text) == text
