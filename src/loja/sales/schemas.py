"""What the sales routes take and answer."""

import re
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, Field

from loja.sales.files import MAX_NAME, NAME_PATTERN, check_name
from trilho.http import Accepted

MAX_ROWS = 5_000_000
MONTH_PATTERN = "^[0-9]{4}-(0[1-9]|1[0-2])$"


def check_month(text: str) -> str:
    """The month itself; raises ValueError if it is not written `YYYY-MM`."""
    if not re.fullmatch(MONTH_PATTERN, text):
        raise ValueError("must be a year and a month from 01 to 12, as in 2025-01")
    return text


Filename = Annotated[
    str,
    AfterValidator(check_name),
    Query(
        description="Name of an uploaded file; a file of this name is made up if nobody uploaded one.",
        examples=["vendas.csv"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME, "pattern": NAME_PATTERN},
    ),
]

NumRows = Annotated[
    int, Query(ge=1, le=MAX_ROWS, description="Rows to make up, if nobody uploaded the file.", examples=[50_000])
]

Month = Annotated[
    str,
    AfterValidator(check_month),
    Query(description="Year and month.", examples=["2025-01"], json_schema_extra={"pattern": MONTH_PATTERN}),
]


class CsvAccepted(Accepted):
    """A sales file will be processed."""

    filename: str
    num_rows: int


class UploadAccepted(Accepted):
    """A sales file has arrived and will be processed."""

    filename: str
    size: int = Field(description="Bytes of the file.")


class AggregateAccepted(Accepted):
    """A question about the sales will be answered."""

    region: str
    month: str
