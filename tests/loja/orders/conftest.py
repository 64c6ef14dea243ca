"""A street with everything running, for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.loja.orders.street import Street, opened
from tests.loja.shop import Shop


@pytest.fixture(scope="module")
def street(idle_shop: Shop) -> Iterator[Street]:
    with opened(idle_shop) as street:
        street.start("dispatcher")
        street.start("consumer")
        yield street
