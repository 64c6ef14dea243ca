"""Structured log lines through the standard library's logging, which Celery, uvicorn and users configure."""

import logging
from typing import Any

import structlog
from structlog.typing import EventDict


def get_logger(name: str) -> Any:
    """A logger whose events are `event key=value …` lines."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            _to_line,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _to_line(_logger: Any, _method: str, event: EventDict) -> str:
    name, trace = event.pop("event"), event.pop("exception", None)
    line = " ".join([str(name), *(f"{key}={value!r}" for key, value in sorted(event.items()))])
    return line if trace is None else f"{line}\n{trace}"
