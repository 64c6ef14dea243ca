"""Pages of a list: `limit`, `cursor`, `next_cursor`."""

from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

ItemT = TypeVar("ItemT")

Limit = Annotated[int, Query(ge=1, le=500, description="Most items of the page.")]
OrderCursor = Annotated[UUID | None, Query(description="The `next_cursor` of the page before.")]


class Page(BaseModel, Generic[ItemT]):
    """Some items, and where the next page begins; `next_cursor` is null on the last one."""

    items: list[ItemT]
    next_cursor: str | None
