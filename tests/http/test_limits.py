"""Size of bodies."""

from collections.abc import Iterator

from tests.http.conftest import Client

LARGE = b'{"a": "' + b"x" * 2000 + b'"}'
HEADERS = {"content-type": "application/json"}


def in_pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 100):
        yield content[start : start + 100]


def test_a_body_that_announces_too_much_is_refused_before_the_endpoint_runs(client: Client) -> None:
    answer = client.post("/deaf", content=LARGE)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "1,000 bytes" in answer.json()["detail"]


def test_a_body_that_turns_out_too_large_is_refused(client: Client) -> None:
    answer = client.post("/echo", content=in_pieces(LARGE), headers=HEADERS)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_a_path_may_have_a_limit_of_its_own(client: Client) -> None:
    assert client.post("/large", content=LARGE, headers=HEADERS).json() == 1
    assert client.post("/large", content=in_pieces(LARGE), headers=HEADERS).json() == 1


def test_a_body_within_the_limit_passes(client: Client) -> None:
    assert client.post("/echo", json={"a": "b"}).json() == 1
