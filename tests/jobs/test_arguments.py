"""Arguments: what comes back in the body, and what is refused before anything is written."""

import dataclasses
import decimal
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.jobs.shop import Query
from trilho import PayloadTooLarge, Trilho
from trilho.testing import Harness


class Address(BaseModel):
    street: str
    since: date


@dataclasses.dataclass
class Person:
    name: str
    born: date
    address: Address | None = None


def run_with(app: Trilho, trilho: Harness, body: Any, *args: Any, **kwargs: Any) -> Any:
    task = app.task(name="body")(body)
    result = task.apply_async(args, kwargs)
    trilho.run_until_idle()
    return result.get(timeout=1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "ção ☃ \x00 😀",
        [1, 2.5, True, {"a": [None]}],
        decimal.Decimal("1.10"),
        uuid.UUID(int=5),
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2026, 1, 2),  # noqa: DTZ001
        date(2026, 1, 2),
        b"\x00\xff",
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(app: Trilho, trilho: Harness, value: Any) -> None:
    seen: list[Any] = []

    @app.task
    def body(value: Any) -> Any:
        seen.append(value)
        return value

    result = body.delay(value)
    trilho.run_until_idle()
    assert seen == [value]
    assert type(seen[0]) is type(value)
    assert result.get(timeout=1) == value


def test_models_and_dataclasses_come_back_by_annotation(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task
    def body(person: Person, others: list[Person], *, where: Address | None = None) -> None:
        seen.extend([person, *others, where])

    ana = Person("Ana", date(2000, 1, 2), Address(street="Rua", since=date(2020, 1, 1)))
    bia = Person("Bia", date(2001, 1, 2))
    body.delay(ana, [bia], where=Address(street="Rua", since=date(2020, 1, 1)))
    trilho.run_until_idle()
    assert seen == [ana, bia, Address(street="Rua", since=date(2020, 1, 1))]


def test_models_may_be_returned(app: Trilho, trilho: Harness) -> None:
    @app.task
    def body() -> Address:
        return Address(street="Rua", since=date(2020, 1, 1))

    result = body.delay()
    trilho.run_until_idle()
    assert result.get(timeout=1) == {"street": "Rua", "since": "2020-01-01"}


def test_argument_that_does_not_fit_its_annotation_is_a_failure(app: Trilho, trilho: Harness) -> None:
    @app.task
    def body(where: Address) -> None: ...

    result = body.delay({"street": 5})
    trilho.run_until_idle()
    assert result.state == "FAILURE"
    assert "ValidationError" in (app.jobs.get(result.id).error or "")
    assert isinstance(result.result, ValidationError | Exception)


@pytest.mark.parametrize(
    ("args", "kwargs", "culprit"),
    [
        ((object(), 1), {}, "argument 0"),
        ((1, {"a": {1, object()}}), {}, "argument 1"),
        ((1,), {"y": lambda: None}, "argument 'y'"),
    ],
)
def test_argument_that_cannot_be_stored_is_named_and_nothing_is_written(
    app: Trilho, query: Query, args: tuple[Any, ...], kwargs: dict[str, Any], culprit: str
) -> None:
    @app.task(name="shop.body")
    def body(x: Any, y: Any) -> None: ...

    with pytest.raises(TypeError, match=f"{culprit} of shop.body cannot be stored"):
        body.delay(*args, **kwargs)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_argument_that_contains_itself_is_named(app: Trilho, query: Query) -> None:
    @app.task
    def body(x: Any) -> None: ...

    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="argument 0"):
        body.delay(endless)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


@pytest.mark.parametrize("call", [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_call_that_does_not_fit_the_signature_is_refused(
    app: Trilho, query: Query, call: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    @app.task
    def body(x: int, y: int = 0) -> None: ...

    args, kwargs = call
    with pytest.raises(TypeError):
        body.delay(*args, **kwargs)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_bad_argument_inside_a_transaction_leaves_the_others(app: Trilho, query: Query) -> None:
    @app.task
    def body(x: Any) -> None: ...

    with app.transaction():
        with pytest.raises(TypeError):
            body.delay(object())
        kept = body.delay(1)
    assert query("SELECT id FROM trilho.jobs") == [(kept.id,)]


def test_payload_above_the_limit_is_refused_and_at_the_limit_kept(
    app: Trilho, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    def body(x: str) -> None: ...

    limit = app.settings.max_payload
    frame = len(json.dumps([""])) + len("{}")
    with pytest.raises(PayloadTooLarge, match="TRILHO_MAX_PAYLOAD"):
        body.delay("x" * (limit - frame + 1))
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]
    body.delay("x" * (limit - frame))
    assert query("SELECT count(*) FROM trilho.jobs") == [(1,)]


def test_times_and_durations_of_python(app: Trilho, query: Query) -> None:
    @app.task
    def body(x: Any) -> None: ...

    body.delay(time(1, 2))
    with pytest.raises(TypeError, match="argument 0"):
        body.delay(timedelta(seconds=1))
