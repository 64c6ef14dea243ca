"""The API key."""

from base64 import b64encode

import pytest

from tests.http.conftest import Client, Mount
from trilho import Trilho

KEY = "s3cret-é"


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, database: str, valkey: str, mount: Mount) -> Client:
    """An API with a key."""
    monkeypatch.setenv("TRILHO_API_KEY", KEY)
    return mount(Trilho("shop", broker=valkey, database=database))


def encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize("path", ["/queue/stats", "/tasks/x", "/nothing", "/broken"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
    ],
)
def test_requests_without_the_key_are_refused(guarded: Client, path: str, headers: dict[str, str]) -> None:
    answer = guarded.get(path, headers=encoded(headers))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["type"] == "urn:trilho:problem:api-key"
    assert KEY not in answer.text


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}]
)
def test_the_key_opens_in_either_header(guarded: Client, headers: dict[str, str]) -> None:
    assert guarded.get("/queue/stats", headers=encoded(headers)).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json"])
def test_health_and_documentation_need_no_key(guarded: Client, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_the_documentation_asks_for_the_key(guarded: Client) -> None:
    document = guarded.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    assert document["paths"]["/tasks/{task_id}"]["get"]["security"] == [{"bearer": []}, {"apiKey": []}]
    assert "401" in document["paths"]["/tasks/{task_id}"]["get"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_without_a_key_nobody_is_asked_for_one(client: Client) -> None:
    assert client.get("/queue/stats").status_code == 200
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def basic(password: str) -> list[tuple[bytes, bytes]]:
    token = b64encode(f"anyone:{password}".encode()).decode()
    return [*encoded({"Authorization": f"Basic {token}"}), (b"Accept", b"text/html")]


def test_a_browser_asks_for_the_key_as_a_password(guarded: Client) -> None:
    asked = guarded.get("/trilho/op/x", headers={"Accept": "text/html"})
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic realm=")
    assert guarded.get("/trilho/op/x", headers=basic("wrong")).status_code == 401
    assert guarded.get("/trilho/op/x", headers=basic(KEY)).status_code == 404


def test_a_password_that_browsers_send_by_themselves_changes_nothing(guarded: Client) -> None:
    assert guarded.post("/pack", headers=basic(KEY)).status_code == 401
    assert guarded.delete("/tasks/x", headers=basic(KEY)).status_code == 401
