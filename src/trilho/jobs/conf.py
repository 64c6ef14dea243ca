"""Celery's configuration of an application: what Trilho fills in, what it decides, and what it cannot do."""

from collections.abc import Mapping
from typing import Any

from trilho.jobs.pipe import patient_options

BACKEND = "trilho.jobs.backend:PostgresBackend"

DEFAULTS: Mapping[str, Any] = {
    "result_backend": BACKEND,
    "broker_connection_retry_on_startup": True,
    "broker_heartbeat": 10,
}
"""Where the application says nothing."""

DECIDED: Mapping[str, Any] = {
    "worker_consumer": "trilho.worker.consumer:JobConsumer",
    "worker_prefetch_multiplier": 1,  # the batcher adapts it
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "task_track_started": False,  # the claim writes STARTED
    "task_protocol": 2,
    "result_extended": True,
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
}
"""Whatever the application says."""

_JSON = frozenset({"json", "application/json"})


def complete(conf: Any, told: str | None, joined: str | None) -> list[str]:
    """Settle a configuration that was just loaded; returns what its author has to be warned of.

    `told` is the broker that the environment or the constructor names, `joined` that of a stack which runs here.
    """
    warnings = _warnings(conf)
    for name, value in DEFAULTS.items():
        if not conf.value_set_for(name):
            conf.defaults[-1][name] = value
    url = told or conf.broker_url or joined
    options = patient_options(url or "") | (conf.broker_transport_options or {})
    conf.update({**DECIDED, "broker_url": url, "broker_transport_options": options})
    return warnings


def _warnings(conf: Any) -> list[str]:
    asked = {name: conf.get(name) for name in ("task_serializer", "result_serializer")}
    said = [f"{name}={value!r} is not used: Trilho writes JSON" for name, value in asked.items() if value not in _JSON]
    foreign = sorted(set(conf.get("accept_content") or ()) - _JSON)
    if foreign:
        said.append(f"accept_content={foreign} is not used: Trilho reads JSON, other messages are refused")
    return said
