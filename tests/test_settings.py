"""Where settings come from, and what of them nobody sees."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from trilho import Trilho
from trilho.settings import STACK_FILE, Settings, load

BOOTSTRAP, OPTIONS = "TRILHO_KAFKA_BOOTSTRAP", "TRILHO_KAFKA_OPTIONS"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """The folder of a stack that runs on Kafka."""
    told: dict[str, Any] = {"pid": os.getpid(), "kafka_bootstrap": "127.0.0.1:9092"}
    (tmp_path / STACK_FILE).write_text(json.dumps(told))
    return tmp_path


def test_events_stay_in_postgresql_unless_somebody_names_a_kafka(tmp_path: Path) -> None:
    assert load(data=tmp_path).kafka_bootstrap is None
    assert load(data=tmp_path).kafka_options == {}


def test_the_running_stack_says_where_its_kafka_is(stack: Path) -> None:
    assert load(data=stack).kafka_bootstrap == "127.0.0.1:9092"


def test_code_decides_over_the_stack_and_the_environment_over_both(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRILHO_DATA", str(stack))
    assert Trilho("shop", kafka="code:9092").settings.kafka_bootstrap == "code:9092"
    monkeypatch.setenv(BOOTSTRAP, "environment:9092")
    assert Trilho("shop", kafka="code:9092").settings.kafka_bootstrap == "environment:9092"


def test_an_empty_variable_says_that_there_is_no_kafka(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BOOTSTRAP, "")
    assert load(data=stack, kafka_bootstrap="code:9092").kafka_bootstrap is None


def test_options_of_kafka_are_json_and_show_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, '{"security.protocol": "SASL_SSL", "sasl.password": "hunter2"}')
    settings = Settings()
    assert settings.kafka_options == {"security.protocol": "SASL_SSL", "sasl.password": "hunter2"}
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_an_error_about_a_setting_does_not_show_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, '["hunter2"]')
    with pytest.raises(ValidationError, match="kafka_options") as raised:
        Settings()
    assert "hunter2" not in str(raised.value)
