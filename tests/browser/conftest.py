"""Chromium, and a shop whose handlers wait until they may go on."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright

from tests.http.server import served
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import missing
from trilho import Event, Retry, Trilho
from trilho.events.consumer import Consumer, ConsumerOptions
from trilho.events.relay import Relay
from trilho.http import install

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer than its tests: Playwright leaves an event loop running in this thread."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for what the browser complains about."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert [text for text in complaints if "favicon" not in text] == []


@dataclass
class Identity:
    incarnation: UUID = field(default_factory=uuid4)


@dataclass
class Market:
    """Orders are packed by a handler that waits for `may_pack`, and billed by one that fails twice."""

    app: Trilho
    client: httpx.Client
    may_pack: threading.Event = field(default_factory=threading.Event)

    def url(self, wanted: str) -> str:
        return f"{self.client.base_url}/trilho/op/{wanted}"

    def order(self, key: str) -> str:
        answer = self.client.post(f"/order/{key}")
        assert answer.status_code == 200, answer.text
        return answer.headers["x-correlation-id"]

    def billed(self, wanted: str) -> None:
        """Wait until the last handler of an order is done."""
        eventually(
            lambda: self.client.get(f"/trilho/op/{wanted}").json()["entries"],
            lambda seen: ("billing", "done") in [(entry["name"], entry["state"]) for entry in seen],
        )


@pytest.fixture(scope="module")
def market(postgres_server: str, template: str) -> Iterator[Market]:
    url = databases.create(postgres_server, template=template)
    app = Trilho("market", database=url, broker="memory://")
    with ExitStack() as stack:
        stack.callback(databases.drop, url)
        stack.callback(app.close)
        stack.callback(app.database.close)
        market = stack.enter_context(opened(app))
        relay = Relay(app.database, Identity(), tick=0.05)
        relay.start()
        stack.callback(relay.stop)
        stop = threading.Event()
        consumer = Consumer(app.database, app.bus.subscriptions.of(), app.coroutines, ConsumerOptions("test", grace=5))
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        stack.callback(thread.join, 15)
        stack.callback(stop.set)
        stack.callback(market.may_pack.set)
        yield market


@contextmanager
def opened(app: Trilho) -> Iterator[Market]:
    """An API and handlers on this application."""
    api = FastAPI()
    install(api, app)
    with served(api) as client:
        market = Market(app, client)

        @api.post("/order/{key}")
        def order(key: str) -> None:
            with app.transaction():
                app.bus.publish("order.created", {"order": key, "card": "4111111111111111"}, key=key)
                app.send_task("market.<script>pack</script>", task_id=f"job-{key}")

        @app.bus.subscribe("order.created", group="packing")
        def pack(event: Event[dict[str, Any]]) -> None:
            assert market.may_pack.wait(30)
            app.bus.publish("order.packed", event.data, key=event.key)

        @app.bus.subscribe("order.packed", group="billing", retry=Retry(attempts=5, delay=0.05, longest=0.1))
        def bill(event: Event[dict[str, Any]]) -> None:
            if event.attempt < 3:
                raise TimeoutError("the bank does not <b>answer</b>")

        yield market
