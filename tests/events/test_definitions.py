"""What cannot work is refused where it is said, with names; no server is asked."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from trilho import ConfigurationError, Retry, Trilho, Tx


class Order(BaseModel):
    order_id: str


@pytest.fixture(scope="module")
def app() -> Iterator[Trilho]:
    made = Trilho("shop", database="postgresql://nobody@127.0.0.1:1/none", broker="memory://")
    yield made
    made.close()


def handle(event: dict[str, Any], tx: Tx) -> None: ...


def two(order: Order, other: Order) -> None: ...


def tx_first(tx: Tx, order: Order) -> None: ...


def none() -> None: ...


def by_name(*, order: Order) -> None: ...


def unknown(order: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retry": 3}, r"retry must be a Retry, such as Retry\(attempts=3\), not 3"),
        ({"retry": 0}, "retry must be a Retry"),
        ({"on_failure": "explode"}, "on_failure must be 'dead_letter' or 'park', not 'explode'"),
        ({"start": "middle"}, "start must be 'earliest' or 'latest', not 'middle'"),
        ({"group": 5}, "group must be a text of 1 to 255 characters without NUL, not 5"),
        ({"group": "a\0b"}, r"group must be a text of 1 to 255 characters without NUL, not 'a\\x00b'"),
        ({"group": ""}, "group must be a text of 1 to 255"),
        ({"group": "g" * 256}, "group must be a text of 1 to 255"),
        ({"group": "trilho.sagas"}, "group must not begin with 'trilho.', as 'trilho.sagas' does"),
        ({"batch": 0}, "batch must be 1 to 10000, not 0"),
        ({"batch": "5"}, "batch must be 1 to 10000, not '5'"),
        ({"transactional": "no"}, "transactional must be True or False, not 'no'"),
        ({"transactional": False}, "takes a Tx, so it cannot be transactional=False"),
        ({"timeline": "yes"}, "timeline must be True, False or None, not 'yes'"),
    ],
)
def test_option_that_cannot_be_names_handler_value_and_what_is_allowed(
    app: Trilho, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^handler handle.*{told}"):
        app.bus.subscribe("orders", **options)(handle)
    with pytest.raises(ConfigurationError):
        app.bus.subscriptions.of()


@pytest.mark.parametrize("handler", [two, tx_first, none, by_name, unknown])
def test_handler_that_cannot_be_called_with_an_event_is_named(app: Trilho, handler: Callable[..., None]) -> None:
    with pytest.raises(ConfigurationError, match=f"^handler {handler.__name__} must take one event first"):
        app.bus.subscribe("orders")(handler)


def test_subscription_without_a_topic_is_refused(app: Trilho) -> None:
    with pytest.raises(
        ConfigurationError, match=r'^handler handle names no topic: write @app.bus.subscribe\("topic"\)'
    ):
        app.bus.subscribe(handle)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="handler handle subscribes to no topic"):
        app.bus.subscribe()(handle)
    with pytest.raises(ConfigurationError, match="handler handle: 'a b' is no topic name"):
        app.bus.subscribe("a b")(handle)
    with pytest.raises(ConfigurationError, match="handler handle: 5 is no topic name"):
        app.bus.subscribe(5)(handle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schema": 42}, "schema must be a type that Pydantic validates, not 42"),
        ({"schema": {"type": "object"}}, "schema must be a type that Pydantic validates"),
        ({"schema": "Order"}, "schema must be a type that Pydantic validates, not 'Order'"),
        ({"retention": timedelta(days=-1)}, "retention must be None, for ever, or a timedelta above 0 and up to 36500"),
        ({"retention": timedelta.max}, "retention must be"),
        ({"retention": 7}, "retention must be .*, not 7"),
        ({"partitions": 0}, "partitions must be 1 to 1000, not 0"),
        ({"partitions": 1_000_000}, "partitions must be 1 to 1000, not 1000000"),
        ({"partitions": "6"}, "partitions must be 1 to 1000, not '6'"),
    ],
)
def test_topic_that_cannot_be_is_refused_with_what_can(app: Trilho, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^topic 'orders': {told}"):
        app.bus.topic("orders", **options)
    assert app.bus.topics == {}


def test_what_is_right_is_taken_and_trilhos_own_group_by_trilho() -> None:
    app = Trilho("shop", database="postgresql://nobody@127.0.0.1:1/none", broker="memory://")

    @app.saga(events=["paid"])
    async def place(saga: Any) -> None: ...

    def late(event: Order, seen: tuple[int, ...] = ()) -> None: ...

    app.bus.subscribe("orders", group="g", retry=Retry(attempts=2), on_failure="park", start="latest")(late)
    app.bus.topic("orders", schema=list[Order], retention=None)
    assert set(app.bus.subscriptions.of()) == {("trilho.sagas", "paid"), ("g", "orders")}
    app.close()
