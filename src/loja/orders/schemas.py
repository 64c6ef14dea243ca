"""Orders as JSON."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from loja.contracts.catalogue import CATALOGUE
from loja.contracts.stream import Mode
from loja.orders.order import Happened, Order
from loja.orders.status import Status
from loja.text import has_surrogates

MAX_ITEMS = 20
MAX_QUANTITY = 1_000
MAX_LINE = 200
MAX_USER = 10**15

_EXAMPLE = "019303f8-7c1e-7d1a-9f2b-0c9d6d3f9a11"
_USER = "^[A-Za-z0-9._@:-]{1,64}$"
_CARD = "^[0-9]{12,19}$"
_LINE = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$"


def check_sku(sku: str) -> str:
    """The name of a product itself; raises ValueError if there is none."""
    if sku not in CATALOGUE:
        raise ValueError(f"there is no such product; there are {', '.join(CATALOGUE)}")
    return sku


def check_card(number: str) -> str:
    """The card number itself; raises ValueError, which must not repeat it."""
    if not re.fullmatch(_CARD.strip("^$"), number):
        raise ValueError("must be a card number: 12 to 19 digits")
    return number


def check_line(text: str) -> str:
    """The text itself; raises ValueError if it is not one line."""
    if not 1 <= len(text) <= MAX_LINE:
        raise ValueError(f"must have 1 to {MAX_LINE} characters, and has {len(text):,}")
    if not re.fullmatch(_LINE, text) or "\n" in text or has_surrogates(text):
        raise ValueError("must be one line without control characters")
    return text


def whole(number: object) -> object:
    """An integer for what JSON Schema takes for one, 2.0 too; anything else as it is, and True and False as text."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return str(number) if isinstance(number, bool) else number


def check_user(user: object) -> str | int:
    """Who orders; raises ValueError for what names nobody."""
    if isinstance(user, str) and re.fullmatch(_USER.strip("^$"), user):
        return user
    number = whole(user)
    if isinstance(number, int) and 0 <= number <= MAX_USER:
        return number
    raise ValueError("must be a number from 0 on, or 1 to 64 letters, digits and . _ @ : -")


Sku = Annotated[
    str,
    AfterValidator(check_sku),
    WithJsonSchema({"type": "string", "enum": list(CATALOGUE), "examples": ["COFFEE"]}),
]
CardNumber = Annotated[
    str,
    AfterValidator(check_card),
    WithJsonSchema({"type": "string", "pattern": _CARD, "writeOnly": True, "examples": ["4111111111111111"]}),
]
Line = Annotated[
    str,
    AfterValidator(check_line),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LINE, "pattern": _LINE}),
]
UserId = Annotated[
    str | int,
    PlainValidator(check_user),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _USER},
                {"type": "integer", "minimum": 0, "maximum": MAX_USER},
            ],
            "examples": ["ana"],
        }
    ),
]
ModeParameter = Annotated[Mode, Query(description="How the services work together.")]


class NewItem(BaseModel):
    """So many of one product."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sku: Sku
    quantity: Annotated[int, BeforeValidator(whole)] = Field(ge=1, le=MAX_QUANTITY, examples=[2])


class NewAddress(BaseModel):
    """Where to; nobody delivers to `AQ`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    street: Line = Field(examples=["Rua Augusta 100"])
    city: Line = Field(examples=["São Paulo"])
    country: str = Field(pattern="^[A-Z]{2}$", description="Two letters (ISO 3166).", examples=["BR"])


class NewOrder(BaseModel):
    """What somebody wants to buy. The card number goes no further than this."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    user_id: UserId
    items: list[NewItem] = Field(min_length=1, max_length=MAX_ITEMS)
    card: CardNumber = Field(repr=False, description="`4000000000000002` is declined.")
    address: NewAddress


class OrderAccepted(BaseModel):
    """An order was stored, and its events will be published."""

    order_id: str = Field(examples=[_EXAMPLE])
    status: Status = Status.REQUESTED
    status_url: str = Field(description="Path of `GET /orders/{order_id}`.", examples=[f"/orders/{_EXAMPLE}"])


class OrderSummary(BaseModel):
    """How an order stands."""

    order_id: str
    mode: Mode
    status: Status
    total: Decimal = Field(examples=["65.80"])
    reason: str | None = Field(description="Why it was cancelled, or is STUCK.")

    @classmethod
    def of(cls, order: Order) -> Self:
        """The stored order."""
        return cls(
            order_id=order.order_id, mode=order.mode, status=order.status, total=order.total, reason=order.reason
        )


class HistoryLine(BaseModel):
    """Something that has happened to an order."""

    at: datetime
    service: str
    event: str
    detail: str | None


class OrderOut(OrderSummary):
    """How an order stands, and what has happened to it."""

    history: list[HistoryLine] = Field(default_factory=list)

    def with_history(self, lines: list[Happened]) -> Self:
        """The same with its history."""
        shown = [HistoryLine(at=line.at, service=line.service, event=line.event, detail=line.detail) for line in lines]
        return self.model_copy(update={"history": shown})
