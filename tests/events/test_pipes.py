"""Which log is taken, and what is said when Kafka's client is not installed."""

import sys

import pytest

from trilho import Trilho
from trilho.errors import ConfigurationError
from trilho.events.pipes import outlet_of
from trilho.events.transfer import Transfer


def test_events_stay_in_postgresql_without_a_bootstrap(database: str) -> None:
    app = Trilho("x", database=database, broker="memory://")
    assert isinstance(outlet_of(app.database, lambda: None), Transfer)


def test_missing_extra_is_named(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Trilho("x", database=database, broker="memory://", kafka="127.0.0.1:1")
    for name in [name for name in sys.modules if name.startswith("trilho.events.kafka.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'trilho\[kafka\]'"):
        outlet_of(app.database, lambda: None)
