"""Builds the application: in workers from the environment, in tests with given settings."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.faults.apps import bodies, schema
from trilho import Trilho

TASKS: Mapping[Callable[..., Any], Mapping[str, Any]] = {
    bodies.noop: {},
    bodies.nap: {},
    bodies.alone: {},
    bodies.effect: {"bind": True},
    bodies.record: {"bind": True, "transactional": True},
    bodies.ticks: {"bind": True},
    bodies.stuck: {"bind": True},
    bodies.poison: {"bind": True},
    bodies.poison_until: {"bind": True},
    bodies.regicide: {"bind": True},
    bodies.with_child: {"bind": True},
    bodies.flaky: {"bind": True, "transactional": True},
    bodies.retry_late: {"bind": True},
    bodies.link: {"bind": True, "transactional": True},
    bodies.gather: {"bind": True, "transactional": True},
    bodies.holding: {"bind": True, "transactional": True},
    bodies.crossing: {"bind": True, "transactional": True},
}


def build(*, broker: str | None = None, database: str | None = None) -> Trilho:
    """An application with every task, named `lab.<function>`."""
    app = Trilho("lab", broker=broker, database=database)
    app.on_migrate(schema.create)
    for body, options in TASKS.items():
        # Not shared: several of these applications live in one test process.
        app.task(name=f"lab.{body.__name__}", shared=False, **options)(body)
    return app
