"""The commands of `docs/shop.md` work as they stand, on a stack that `trilho up` started."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.docs.page import ROOT, Page
from tests.docs.shell import Shell, running
from tests.lab.poll import eventually
from tests.lab.servers import scratch

PAGE = Page(ROOT / "docs" / "shop.md")


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A shell beside the running shop."""
    with scratch() as folder:
        shop = running(folder, "-A", "loja.app", "--api", "loja.web:api", "--workers", "1", LOJA_FAILURE_RATE="0")
        with shop as shell:
            yield shell


def test_mail_is_sent_and_can_be_read(shell: Shell) -> None:
    [script] = PAGE.blocks("bash run=mail")
    assert '"report_type":"vendas"' in shell.run(script)
    caught = eventually(
        lambda: httpx.get(f"{shell.url}/mail").json()["items"], lambda items: len(items) == 2, timeout=30
    )
    assert {mail["recipient"] for mail in caught} == {"eu@empresa.com", "Ana <ana@empresa.com>"}


def test_a_video_is_published_and_can_be_watched(shell: Shell) -> None:
    [script] = PAGE.blocks("bash run=videos")
    assert '"title": "Holidays"' in shell.run(script)
    videos = eventually(
        lambda: httpx.get(f"{shell.url}/videos").json()["items"],
        lambda items: items[0]["status"] == "published",
        timeout=30,
    )
    answer = httpx.get(shell.url + videos[0]["video_url"], headers={"range": "bytes=0-11"})
    assert (answer.status_code, answer.content[4:8]) == (206, b"ftyp")


def test_an_upload_is_followed_to_its_end(shell: Shell) -> None:
    [script] = PAGE.blocks("bash run=uploads")
    said = shell.run(script)
    assert "event: task\n" in said
    last = json.loads(said.rpartition("data: ")[2].partition("\n")[0])
    assert (last["status"], last["result"]["total"]) == ("SUCCESS", 2007.0)


def test_orders_end_and_what_the_shop_does_not_know_is_a_dead_letter(shell: Shell) -> None:
    for name in ("orders", "undone"):
        [script] = PAGE.blocks(f"bash run={name}")
        assert '"order_id":' in shell.run(script)
    orders = eventually(
        lambda: httpx.get(f"{shell.url}/orders").json()["items"],
        lambda items: {item["status"] for item in items} <= {"COMPLETED", "CANCELLED", "RESERVED"},
        timeout=30,
    )
    assert [one["status"] for one in reversed(orders)] == ["COMPLETED", "CANCELLED", "RESERVED"]
    said = shell.run(PAGE.blocks("bash run=saga")[0])
    assert '"mode": "orchestration"' in said
    [stuck, mended] = (PAGE.blocks(f"bash run={name}")[0] for name in ("stuck", "mended"))
    assert "the desk for refunds is closed" in shell.run(stuck)
    assert '"open":true' in shell.run(mended)
    orders = eventually(
        lambda: httpx.get(f"{shell.url}/orders").json()["items"],
        lambda items: {item["status"] for item in items} <= {"COMPLETED", "CANCELLED", "RESERVED"},
        timeout=30,
    )
    sagas = [one["status"] for one in reversed(orders) if one["mode"] == "orchestration"]
    assert sagas == ["COMPLETED", "CANCELLED"]
    [script] = PAGE.blocks("bash run=strange")
    assert "there is no order 'o-1' here" in shell.run(script)
