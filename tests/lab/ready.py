"""How a worker process tells a test that it consumes: a file, whose name comes from the environment."""

import os
from pathlib import Path

from celery.signals import worker_ready

READY = "TRILHO_LAB_READY"


def announce() -> None:
    """Touch the file when the worker of this process is ready; for modules that `celery -A` loads."""
    worker_ready.connect(_touch, weak=False)


def _touch(**_: object) -> None:
    if path := os.environ.get(READY):
        Path(path).touch()
