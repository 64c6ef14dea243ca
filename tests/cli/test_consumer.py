"""The consumer of a stack: apps with handlers have one, apps without do without."""

import os
import signal

import pytest

from tests.cli.project import APPLICATION, Project
from tests.lab.poll import eventually

pytestmark = pytest.mark.timeout(120)

HANDLER = """
@app.bus.subscribe("orders")
def note(order: dict) -> None:
    print("noted", order["order_id"], flush=True)
"""


def test_consumer_without_handlers_ends_well_and_says_why(project: Project, database: str) -> None:
    done = project.trilho("consumer", "-A", "shop", TRILHO_DATABASE_URL=database)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "nothing to do: the app has no event handlers: @app.bus.subscribe(topic) makes one\n"


def test_consumer_of_an_unknown_group_is_an_error(project: Project, database: str) -> None:
    done = project.trilho("consumer", "-A", "shop", "-g", "nobody", TRILHO_DATABASE_URL=database)
    assert done.returncode == 1
    assert "no handler for group 'nobody'" in done.stderr


def test_stack_leaves_out_a_consumer_that_has_nothing_to_do(project: Project) -> None:
    with project.up("--workers", "0") as up:
        assert "consumer" not in project.ps()
        assert "consumer is left out: there is nothing for it to do" in up.text()
        assert "nothing to do: the app has no event handlers" in up.text()


def test_stack_starts_a_consumer_and_starts_it_again_also_after_a_good_end(project: Project) -> None:
    (project.folder / "shop.py").write_text(APPLICATION + HANDLER)
    with project.up("--workers", "1") as up:
        assert project.ps()["consumer"]["kind"] == "consumer"
        os.kill(project.ps()["consumer"]["pid"], signal.SIGTERM)
        up.wait_for("consumer is ready: handles events", count=2)
        produced = project.trilho("events", "produce", "orders", '{"order_id": 7}')
        assert produced.returncode == 0, produced.stderr
        eventually(lambda: "noted 7" in project.trilho("logs", "consumer").stdout, every=0.5)
        assert project.json("scale", "--consumers", "0")["consumers"] == []
        up.wait_for("consumer has stopped")
        assert project.trilho("groups", "reset", "shop.note", "orders", "--to", "earliest").returncode == 0
        assert project.json("scale", "--consumers", "2")["consumers"] == ["consumer", "consumer-2"]

        def noted() -> int:
            return project.trilho("logs", "consumer", "consumer-2").stdout.count("noted 7")

        eventually(noted, lambda times: times == 2, every=0.5)
