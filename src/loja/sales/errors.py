"""Why a sales file cannot be used. None of these gets better by trying again.

Each takes its text and nothing else: so an exception that was stored with a job can be raised again from it.
"""


class SalesFileError(Exception):
    """The file cannot be used as it is; the text says why and what is expected."""


class UploadGone(SalesFileError):
    """The file that was uploaded is not where the API has put it."""


class EmptyFile(SalesFileError):
    """The file has no text."""


class OnlyHeader(SalesFileError):
    """The file has a header and nothing below it."""


class NotSales(SalesFileError):
    """The file is not CSV, or CSV without the columns of sales."""


class NoUsableRow(SalesFileError):
    """Every row was rejected; storing nothing in place of the former data would be a loss."""


class TooManyGroups(SalesFileError):
    """More different products, months and regions than a sales file has."""
