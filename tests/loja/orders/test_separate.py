"""The four services know each other's events and nothing else of each other; only the saga knows them all."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.servers import ROOT

SERVICES = ("orders", "payments", "inventory", "shipping")
SAGA = "saga.py"


def imported(package: str) -> Iterator[str]:
    for path in sorted((ROOT / "src" / "loja" / package).rglob("*.py")):
        if path.name != SAGA:
            yield from imported_by(path)


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    found = list(imported(service))
    assert any(name.startswith(f"loja.{service}.") for name in found)
    others = tuple(f"loja.{other}" for other in SERVICES if other != service)
    assert [name for name in found if name.startswith(others)] == []


def test_the_saga_knows_the_steps_of_the_others_and_no_more() -> None:
    found = [name for name in imported_by(ROOT / "src" / "loja" / "orders" / SAGA) if name.startswith("loja.")]
    others = [name for name in found if name.split(".")[1] in SERVICES and not name.startswith("loja.orders.")]
    assert others == ["loja.inventory.steps", "loja.payments.steps", "loja.shipping.steps"]


def test_what_they_share_knows_none_of_them() -> None:
    services = tuple(f"loja.{service}" for service in SERVICES)
    assert [name for name in imported("contracts") if name.startswith((*services, "loja.app"))] == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_names_a_table_of_another(service: str) -> None:
    tables = {
        "orders": ("orders", "order_history"),
        "payments": ("payments", "closed_desks"),
        "shipping": ("shipments",),
    }
    tables["inventory"] = ("products", "reservations")
    others = [f"loja.{table}" for other, names in tables.items() if other != service for table in names]
    for path in (ROOT / "src" / "loja" / service).rglob("*.py"):
        text = "\n".join(line for line in path.read_text().splitlines() if "import" not in line)
        assert [table for table in others if table in text] == []
