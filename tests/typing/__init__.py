"""Typed use of the library, as type checkers see it."""  # noqa: A005
