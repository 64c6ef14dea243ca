"""What a stack consists of."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilho.cli.plan import (
    Plan,
    Urls,
    changes,
    consumer,
    environment,
    names,
    welcome,
    worker,
    worker_arguments,
)

PLAN = Plan(app="shop", data=Path("data"))
URLS = Urls("postgresql://db", "redis://broker")
counts = st.integers(0, 12)


def test_workers_are_numbered_from_the_second_on() -> None:
    assert names("worker", 3) == ["worker", "worker-2", "worker-3"]
    assert names("worker", 0) == []


@given(counts, st.sets(st.sampled_from(names("worker", 12))), st.data())
def test_scaling_ends_with_exactly_the_wanted_workers(count: int, present: set[str], data: st.DataObject) -> None:
    leaving = data.draw(st.sets(st.sampled_from(sorted(present)))) if present else set()
    start, stop = changes(names("worker", count), present, leaving)
    assert not set(start) & present, "a name that still belongs to a process is not given away"
    assert not set(stop) & leaving, "nobody is asked to stop twice"
    assert (present | set(start)) - set(stop) - (leaving - set(names("worker", count))) == set(names("worker", count))


def test_a_worker_is_a_plain_celery_worker() -> None:
    _, *arguments = worker_arguments("shop", "worker-2")
    assert arguments[:4] == ["-m", "celery", "-A", "shop"]
    assert " ".join(arguments).endswith("worker -n worker-2@%h -c 2 -l INFO --without-gossip --without-mingle")


def test_a_stack_has_one_consumer_of_all_groups() -> None:
    program = consumer(PLAN, URLS, "consumer")
    assert (program.kind, program.name) == ("consumer", "consumer")
    assert " ".join(program.arguments).endswith("-m trilho.cli consumer -A shop -n consumer")


@pytest.mark.parametrize("given", [["-c", "8"], ["-c8"], ["--concurrency", "8"], ["--concurrency=8"]])
def test_an_option_given_by_the_user_gets_no_default(given: list[str]) -> None:
    arguments = worker_arguments("shop", "worker", given)
    assert "2" not in arguments
    assert "worker@%h" in arguments


def test_processes_get_the_urls_and_the_folder_and_keep_the_rest() -> None:
    variables = environment({"LANG": "C", "TRILHO_BROKER_URL": "other"}, PLAN, URLS)
    assert variables["TRILHO_DATABASE_URL"] == "postgresql://db"
    assert variables["TRILHO_BROKER_URL"] == "redis://broker"
    assert variables["TRILHO_DATA"] == "data"
    assert variables["LANG"] == "C"


def test_processes_are_told_where_mail_goes_if_it_goes_anywhere() -> None:
    other = {"TRILHO_SMTP_URL": "smtp://other"}
    assert environment(other, PLAN, URLS) | other == environment(other, PLAN, URLS)
    own = Urls("postgresql://db", "redis://broker", "smtp://127.0.0.1:2525")
    assert environment(other, PLAN, own)["TRILHO_SMTP_URL"] == "smtp://127.0.0.1:2525"
    assert "TRILHO_SMTP_URL" not in environment({}, PLAN, URLS)


def test_processes_are_told_of_kafka_if_the_stack_has_one() -> None:
    own = Urls("postgresql://db", "redis://broker", kafka="127.0.0.1:9092")
    assert environment({}, PLAN, own)["TRILHO_KAFKA_BOOTSTRAP"] == "127.0.0.1:9092"
    assert "TRILHO_KAFKA_BOOTSTRAP" not in environment({}, PLAN, URLS)
    assert "127.0.0.1:9092" in "\n".join(welcome(PLAN, "trilho", own.kafka))
    assert "Kafka" not in "\n".join(welcome(PLAN, "trilho"))


def test_secrets_do_not_show_in_the_representation_of_a_program() -> None:
    assert "postgresql://" not in repr(worker(PLAN, URLS, "worker"))


def test_the_user_is_told_urls_and_commands_as_they_must_be_typed() -> None:
    told = "\n".join(welcome(Plan("shop", Path("/my data"), api="web:api", port=81), ".venv/bin/trilho"))
    assert "http://127.0.0.1:81/docs" in told
    assert ".venv/bin/trilho ps --data '/my data'" in told
    assert "--data" not in welcome(Plan("shop", Path(".trilho").resolve()), "trilho")[0]
