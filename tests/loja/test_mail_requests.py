"""What the routes of reports and users accept, refuse and answer; nobody works on the jobs."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.loja.shop import Shop


def jobs_in(shop: Shop) -> int:
    return int(shop.query("SELECT count(*) FROM trilho.jobs")[0][0])


def users_in(shop: Shop) -> int:
    return int(shop.query("SELECT count(*) FROM loja.users")[0][0])


def test_send_report_answers_with_where_to_look(idle_shop: Shop) -> None:
    answer = idle_shop.client.post("/send-report?email=eu@empresa.com&report_type=vendas")
    body = answer.json()
    assert answer.status_code == 202
    assert (body["status"], body["email"], body["report_type"]) == ("PENDING", "eu@empresa.com", "vendas")
    assert answer.headers["location"] == body["status_url"] == f"/tasks/{body['task_id']}"


@pytest.mark.parametrize(
    ("params", "field", "words"),
    [
        ({"email": "eu@empresa.com", "report_type": "lucros"}, "report_type", "'vendas', 'produtos' or 'regioes'"),
        ({"email": "eu", "report_type": "vendas"}, "email", "@"),
        ({"email": "eu@empresa.com\r\nBcc: x@y.com", "report_type": "vendas"}, "email", ""),
        ({"email": "", "report_type": "vendas"}, "email", ""),
        ({"email": "a" * 10_000 + "@x.com"}, "email", "254"),
        ({"report_type": "vendas"}, "email", "required"),
    ],
)
def test_a_report_that_cannot_be_sent_is_422_and_enqueues_nothing(
    idle_shop: Shop, params: dict[str, str], field: str, words: str
) -> None:
    before = jobs_in(idle_shop)
    answer = idle_shop.client.post("/send-report", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["message"]
    assert jobs_in(idle_shop) == before
    assert len(answer.text) < 1500


def test_a_user_is_stored_with_a_job(idle_shop: Shop) -> None:
    jobs = jobs_in(idle_shop)
    answer = idle_shop.client.post("/users", json={"email": "new@example.com", "name": "  Ana   Souza "})
    user = answer.json()
    assert answer.status_code == 201
    assert user == {"id": user["id"], "email": "new@example.com", "name": "Ana Souza"}
    assert idle_shop.client.get(answer.headers["location"]).json() == user
    assert jobs_in(idle_shop) == jobs + 1


@pytest.mark.parametrize("name", [None, "", "   "])
def test_a_user_may_have_no_name(idle_shop: Shop, name: str | None) -> None:
    answer = idle_shop.client.post("/users", json={"email": f"{uuid4().hex}@example.com", "name": name})
    assert (answer.status_code, answer.json()["name"]) == (201, None)


def test_an_address_belongs_to_one_user_whatever_its_case(idle_shop: Shop) -> None:
    assert idle_shop.client.post("/users", json={"email": "taken@example.com"}).status_code == 201
    jobs = jobs_in(idle_shop)
    answer = idle_shop.client.post("/users", json={"email": "TAKEN@Example.com"})
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert "belongs to another user" in answer.json()["detail"]
    assert jobs_in(idle_shop) == jobs


def test_of_two_at_once_one_gets_the_address(idle_shop: Shop) -> None:
    def post(email: str) -> httpx.Response:
        return httpx.post(idle_shop.client.base_url.join("/users"), json={"email": email}, timeout=30)

    jobs, users = jobs_in(idle_shop), users_in(idle_shop)
    with ThreadPoolExecutor(8) as threads:
        for number in range(5):
            name = f"race-{number}@example.com"
            answers = list(threads.map(post, [name.upper() if turn % 2 else name for turn in range(8)]))
            assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert (jobs_in(idle_shop), users_in(idle_shop)) == (jobs + 5, users + 5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "no-address", "name": "Ana"}, "email"),
        ({"name": "Ana"}, "email"),
        ({"email": "x@example.com", "name": "Ana\r\nBcc: everybody@example.com"}, "name"),
        ({"email": "x@example.com", "name": "Ana\n"}, "name"),
        ({"email": "x@example.com", "name": "A\x00na"}, "name"),
        ({"email": "x@example.com", "name": "Ana\u2028"}, "name"),
        ({"email": "x@example.com", "name": "\u202eanA"}, "name"),
        ({"email": "x@example.com", "name": "x" * 101}, "name"),
        ({"email": "x@example.com", "name": 7}, "name"),
        ({"email": "x@example.com", "nome": "Ana"}, "nome"),
        ([], "body"),
    ],
)
def test_a_user_who_cannot_be_stored_is_422(idle_shop: Shop, body: object, field: str) -> None:
    jobs, users = jobs_in(idle_shop), users_in(idle_shop)
    answer = idle_shop.client.post("/users", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert (jobs_in(idle_shop), users_in(idle_shop)) == (jobs, users)


def test_a_user_who_is_not_there_is_404(idle_shop: Shop) -> None:
    answer = idle_shop.client.get(f"/users/{uuid4()}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
