"""compose.yaml against the Compose Specification and against what we promise about it.

`compose-spec.json` is the specification's own schema, under the Apache License 2.0.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.ops import compose
from trilho.embedded import kafka
from trilho.settings import Settings

COMPOSE = compose.load()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
SERVERS = ["postgres", "valkey", "kafka"]


def test_file_follows_the_specification() -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert errors == []


def test_services_are_those_of_the_documentation() -> None:
    ours = {"mail", "api", "worker", "worker-2", "consumer", "flower"}
    assert {*SERVERS, *ours} <= SERVICES.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_a_fixed_name_so_that_every_service_scales(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert "hostname" not in SERVICES[name]


@pytest.mark.parametrize("name", [*SERVERS, "mail", "api", "worker", "worker-2", "consumer", "flower"])
def test_every_long_running_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_ports_are_those_that_people_paste() -> None:
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert SERVICES["valkey"]["ports"] == ["127.0.0.1:6379:6379"]
    assert SERVICES["kafka"]["ports"] == ["127.0.0.1:9092:9092"]
    assert SERVICES["flower"]["ports"] == ["127.0.0.1:5555:5555"]


def test_kafka_advertises_to_each_side_the_address_that_it_can_reach() -> None:
    broker = SERVICES["kafka"]["environment"]
    inside, host = (listener.split("://")[1] for listener in broker["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert host == "localhost:9092"
    assert {SERVICES[name]["environment"]["TRILHO_KAFKA_BOOTSTRAP"] for name in OURS} == {inside}
    assert all(f":{port}" in broker["KAFKA_LISTENERS"] for port in ("9092", inside.split(":")[1]))


def test_containers_and_the_embedded_broker_are_of_one_version() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"


def test_nobody_outside_reaches_the_mail_catcher() -> None:
    assert "ports" not in SERVICES["mail"]
    assert "mail:1025" in SERVICES["worker"]["environment"]["TRILHO_SMTP_URL"]


@pytest.mark.parametrize("name", ["worker", "worker-2", "consumer"])
def test_workers_publish_no_port_so_that_they_scale(name: str) -> None:
    assert "ports" not in SERVICES[name]


def test_api_and_workers_share_their_files() -> None:
    assert {tuple(SERVICES[name]["volumes"]) for name in OURS} == {("files:/data",)}


def test_every_named_volume_is_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", ["api", "worker", "worker-2", "consumer", "flower"])
def test_services_wait_for_servers_and_migration(name: str) -> None:
    needs = {needed: condition["condition"] for needed, condition in SERVICES[name]["depends_on"].items()}
    assert needs == {
        "postgres": "service_healthy",
        "valkey": "service_healthy",
        "kafka": "service_healthy",
        "migrate": "service_completed_successfully",
    }


def test_workers_have_names_of_their_own() -> None:
    assert SERVICES["worker"]["command"] != SERVICES["worker-2"]["command"]


def test_workers_get_longer_to_stop_than_they_give_their_jobs() -> None:
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings().shutdown_grace


def test_a_key_from_the_environment_reaches_the_api() -> None:
    keyed = compose.load({"TRILHO_API_KEY": "secret"})
    assert keyed["services"]["api"]["environment"]["TRILHO_API_KEY"] == "secret"
    assert SERVICES["api"]["environment"]["TRILHO_API_KEY"] == ""
