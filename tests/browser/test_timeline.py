"""The page of an operation in Chromium: complete, live while something happens, silent afterwards, readable."""

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Market
from tests.lab.poll import always, eventually
from trilho.dashboard import assembly


def rows(page: Page) -> list[tuple[str, str, str]]:
    """Kind, name and state of each row."""
    parts = ", ".join(f"row.querySelector('.{part}').innerText" for part in ("kind", "name", "badge"))
    return [
        (kind.lower(), name, state)
        for kind, name, state in page.locator("tbody tr").evaluate_all(f"rows => rows.map(row => [{parts}])")
    ]


def finish(market: Market, key: str) -> None:
    """The end of an order's job, as a worker would write it."""
    with market.app.database.connection() as connection:
        connection.execute(
            "UPDATE trilho.jobs SET state = 'SUCCESS', attempt = 1, started_at = clock_timestamp(), "
            "finished_at = clock_timestamp() WHERE id = %s",
            (f"job-{key}",),
        )


def test_the_page_follows_an_operation_to_its_end_and_then_asks_nothing(
    market: Market, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "SETTLING", timedelta(seconds=1))
    correlation = market.order("live")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(market.url("live"))
    task = ("job", "market.<script>pack</script>", "PENDING")
    eventually(lambda: rows(page), lambda seen: task in seen and ("event", "order.created", "published") in seen)
    assert page.locator(".live").inner_text() == "live"
    page.locator("summary").nth(1).click()
    market.may_pack.set()
    finish(market, "live")
    billed = {("event", "order.packed", "published"), ("handler", "billing", "done")}
    seen = eventually(lambda: rows(page), lambda seen: billed <= set(seen))
    assert seen[0] == ("request", "POST /order/live", "200")
    assert ("handler", "packing", "done") in seen
    assert page.locator("details[open]").count() == 1  # stays open
    page.wait_for_selector("#operation[data-live=false]", timeout=15_000)
    assert not page.locator(".live").count()
    last = len(asked)
    always(lambda: (page.wait_for_timeout(100), len(asked))[1], lambda now: now == last, seconds=1.5)
    assert page.locator("[role=status] .badge").inner_text() == "done"
    assert correlation in page.locator(".related").inner_text()


def test_attempts_and_errors_are_told_in_words_and_escaped(market: Market, page: Page) -> None:
    market.may_pack.set()
    wanted = market.order("words")
    finish(market, "words")
    market.billed(wanted)
    page.goto(market.url(wanted))
    billing = page.locator("tr", has_text="billing")
    told = billing.locator("ol li").all_text_contents()
    waiting = "waiting"
    assert [text.split(":")[0] for text in told] == ["attempt 1", waiting, "attempt 2", waiting, "attempt 3"]
    assert "TimeoutError: the bank does not <b>answer</b>" in told[0]
    assert billing.locator("rect, circle").count() == 5
    assert page.locator("script").count() == page.locator("head script").count()
    assert "4111111111111111" not in page.content()
    for width in billing.locator("rect").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)"):
        assert width > 1


def test_the_page_takes_nothing_from_elsewhere_and_has_no_inline_code(market: Market, page: Page) -> None:
    market.may_pack.set()
    wanted = market.order("pure")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(market.url(wanted))
    assert {url.startswith(str(market.client.base_url)) for url in asked} == {True}
    assert page.locator("[style], [onclick], style").count() == 0
    assert page.locator("script:not([src])").count() == 0


def test_names_roles_and_contrast_in_both_colour_schemes(market: Market, browser: Browser) -> None:
    market.may_pack.set()
    wanted = market.order("seen")
    market.billed(wanted)
    grounds = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(market.url(wanted))
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("columnheader").count() == 5
        assert page.get_by_role("region", name="Timeline").count() == 1
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert min(page.evaluate(CONTRASTS)) >= 4.5
        page.close()
    assert grounds["light"] != grounds["dark"]


CONTRASTS: Any = """() => {
    const light = colour => {
        const part = colour.match(/[0-9.]+/g).slice(0, 3).map(value => value / 255)
            .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
    };
    const ground = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll('h1, p, th, td, .badge, .kind, summary, .legend li')].map(element => {
        const text = light(getComputedStyle(element).color);
        return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    });
}"""
