"""Errors are problem documents."""

import pytest

from tests.http.conftest import Client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PUT", "/tasks/x", 405), ("POST", "/echo", 422), ("GET", "/broken", 500)],
)
def test_every_error_is_a_problem_document(client: Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert {"type", "title", "status", "detail"} <= set(answer.json())


def test_an_unforeseen_error_tells_the_caller_nothing_of_the_inside(client: Client) -> None:
    answer = client.get("/broken")
    assert "secret" not in answer.text
    assert answer.json()["detail"] == "GET /broken failed; the server's log has the reason"


def test_405_lists_all_methods_of_the_path(client: Client) -> None:
    assert client.put("/tasks/x").headers["allow"] == "GET, DELETE"


def test_a_malformed_body_names_its_fields(client: Client) -> None:
    answer = client.post("/echo", json={"a": 1})
    assert answer.json()["errors"] == [{"field": "a", "message": "Input should be a valid string"}]
    assert "a: Input should" in answer.json()["detail"]


def test_a_body_that_is_not_json_is_422(client: Client) -> None:
    answer = client.post("/echo", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:trilho:problem:invalid-request")
