"""Text that PostgreSQL can keep."""


def escaped(text: str) -> str:
    """The text with what PostgreSQL refuses written out: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
