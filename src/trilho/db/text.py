"""Text that PostgreSQL can keep."""


def escaped(text: str) -> str:
    """The text with what PostgreSQL refuses written out: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def checked(what: str, text: object, longest: int) -> str:
    """The text; raises ValueError, with what it is, for one that PostgreSQL refuses, an empty or a longer one."""
    if not isinstance(text, str) or not 1 <= len(text) <= longest or text != escaped(text):
        raise ValueError(f"{what} must be a text of 1 to {longest} characters without NUL, not {text!r:.80}")
    return text
