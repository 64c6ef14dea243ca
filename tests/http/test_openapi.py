"""The OpenAPI document."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.conftest import Client


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    """The document of the project's API."""
    content: dict[str, Any] = client.get("/openapi.json").json()
    return content


def errors(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                if status >= "400":
                    yield f"{method} {path} {status}", response


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert [place for place, response in errors(document) if response["content"] != problem] == []


def test_the_routes_document_what_they_answer(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert set(paths["/tasks/{task_id}"]["get"]["responses"]) == {"200", "404", "422", "500", "503"}
    assert set(paths["/tasks/{task_id}/stream"]["get"]["responses"]) == {"200", "204", "404", "422", "500", "503"}
    assert set(paths["/tasks/{task_id}/stream"]["get"]["responses"]["200"]["content"]) == {"text/event-stream"}
    assert set(paths["/tasks/{task_id}"]["delete"]["responses"]) == {"200", "404", "409", "422", "500", "503"}
    assert set(paths["/tasks/{task_id}/retry"]["post"]["responses"]) == {"202", "404", "409", "422", "500", "503"}
    assert set(paths["/queue/stats"]["get"]["responses"]) == {"200", "500", "503"}


def test_nothing_of_fastapis_own_error_shape_is_left(document: dict[str, Any]) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_a_202_documents_its_location(document: dict[str, Any]) -> None:
    assert "Location" in document["paths"]["/tasks/{task_id}/retry"]["post"]["responses"]["202"]["headers"]
