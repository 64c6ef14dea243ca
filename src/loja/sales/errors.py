"""Why a sales file cannot be used. None of these gets better by trying again."""


class SalesFileError(Exception):
    """The file cannot be used as it is; the text says why and what is expected."""


class EmptyFile(SalesFileError):
    """The file has no bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is empty: a header and at least one row are expected")


class OnlyHeader(SalesFileError):
    """The file has a header and nothing below it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has a header but no rows")


class NotSales(SalesFileError):
    """The file is not CSV, or CSV without the columns of sales."""


class NoUsableRow(SalesFileError):
    """Every row was rejected; storing nothing in place of the former data would be a loss."""

    def __init__(self, name: str, rows: int, first: str) -> None:
        super().__init__(f"none of the {rows:,} rows of {name} can be used; the first: {first}")


class TooManyGroups(SalesFileError):
    """More different products, months and regions than a sales file has."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit:,} different combinations of month, region and product")
