"""Text that PostgreSQL can keep."""

from typing import TypeGuard


def escaped(text: str) -> str:
    """The text with what PostgreSQL refuses written out: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def is_storable(text: object, longest: int) -> TypeGuard[str]:
    """Whether it is a text of 1 to `longest` characters that PostgreSQL takes."""
    return isinstance(text, str) and 1 <= len(text) <= longest and text == escaped(text)


def checked(what: str, text: object, longest: int) -> str:
    """The text; raises ValueError, with what it is, for one that PostgreSQL refuses, an empty or a longer one."""
    if not is_storable(text, longest):
        raise ValueError(f"{what} must be a text of 1 to {longest} characters without NUL, not {text!r:.80}")
    return text
