"""Text that people send."""


def has_surrogates(text: str) -> bool:
    """Whether it holds halves of surrogate pairs, which JSON lets through and no database keeps."""
    return any("\ud800" <= mark <= "\udfff" for mark in text)
