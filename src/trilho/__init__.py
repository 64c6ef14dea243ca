"""Durable background jobs and events: PostgreSQL is the truth, brokers are only pipes."""

from trilho.app import Trilho
from trilho.db.transaction import AsyncTx, Tx
from trilho.errors import (
    ClaimLost,
    ConfigurationError,
    DuplicateJob,
    EventSchemaError,
    GroupActive,
    Interrupted,
    JobStateError,
    KeyHeld,
    PayloadTooLarge,
    TransactionError,
    TrilhoError,
    UnknownGroup,
    UnknownJob,
    UnknownTopic,
)
from trilho.events.admin import ResetTarget
from trilho.events.event import Event, Published
from trilho.events.retry import Retry
from trilho.jobs.job import Attempt, Job, JobFilter, JobPage
from trilho.jobs.result import Result
from trilho.jobs.stats import QueueDepth, QueueStats, WorkerStats
from trilho.jobs.task import Task
from trilho.jobs.unique import Unique

__all__ = [
    "AsyncTx",
    "Attempt",
    "ClaimLost",
    "ConfigurationError",
    "DuplicateJob",
    "Event",
    "EventSchemaError",
    "GroupActive",
    "Interrupted",
    "Job",
    "JobFilter",
    "JobPage",
    "JobStateError",
    "KeyHeld",
    "PayloadTooLarge",
    "Published",
    "QueueDepth",
    "QueueStats",
    "ResetTarget",
    "Result",
    "Retry",
    "Task",
    "TransactionError",
    "Trilho",
    "TrilhoError",
    "Tx",
    "Unique",
    "UnknownGroup",
    "UnknownJob",
    "UnknownTopic",
    "WorkerStats",
]
