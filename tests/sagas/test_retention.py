"""Finished runs are deleted when they are old enough, with what belongs to them; what somebody may need is not."""

from datetime import datetime, timezone

import pytest

from tests.lab import database as databases
from tests.sagas.conftest import Shop, do, refuse, undo
from trilho import Saga, UnknownSaga
from trilho.dispatcher.retention import Walk, keeping
from trilho.settings import Settings


def test_old_runs_go_with_their_steps_and_mail(shop: Shop) -> None:
    @shop.app.saga(events=("paid",))
    async def trip(saga: Saga, end: str) -> None:
        await saga.step(do, end)
        if end == "failed":
            await saga.step(refuse, end)
        if end != "done":
            await saga.wait_event("paid", key=end)

    runs = {end: trip.start(end, id=end) for end in ("done", "failed", "waits")}
    runs["done"].signal("unread", 1)
    for run in runs.values():
        shop.settle(run)
    old = "clock_timestamp() - interval '8 days'"
    shop.query(f"UPDATE trilho.sagas SET finished_at = {old} WHERE finished_at IS NOT NULL")
    shop.query(
        "INSERT INTO trilho.saga_mail (name, key, message_id, data, time, kept_at) VALUES"
        f" ('paid', 'k', '1', '1', {old}, {old}), ('paid', 'k', '2', '1', clock_timestamp(), {old})"
    )
    with databases.connect(shop.url) as connection:
        for rule in keeping(Settings()):
            if rule.page in ("sagas", "saga_mail"):
                Walk(rule).step(connection, 100, datetime.now(timezone.utc))
    assert shop.query("SELECT id, state FROM trilho.sagas ORDER BY id") == [
        ("failed", "COMPENSATED"),  # kept for longer
        ("waits", "WAITING"),
    ]
    assert shop.query("SELECT DISTINCT saga_id FROM trilho.saga_steps ORDER BY 1") == [("failed",), ("waits",)]
    assert shop.query("SELECT message_id FROM trilho.saga_mail") == [("2",)]
    with pytest.raises(UnknownSaga):
        runs["done"].run()


def test_called_runs_stay_as_long_as_any_caller_above_them_may_be_undone(shop: Shop) -> None:
    @shop.app.saga
    async def bottom(saga: Saga) -> None:
        await saga.step(do, "bottom", undo=undo)

    @shop.app.saga
    async def middle(saga: Saga) -> None:
        await saga.call(bottom)

    @shop.app.saga
    async def top(saga: Saga) -> None:
        await saga.call(middle)
        await saga.wait_signal("never")

    handle = top.start(id="top")
    assert shop.settle(handle) == "WAITING"
    shop.query("UPDATE trilho.sagas SET finished_at = finished_at - interval '8 days'")
    with databases.connect(shop.url) as connection:
        for rule in keeping(Settings()):
            if rule.page == "sagas":
                Walk(rule).step(connection, 100, datetime.now(timezone.utc))
    handle.cancel()
    assert shop.settle(handle) == "COMPENSATED"
    assert shop.effects() == ["bottom", "undo bottom bottom done"]
