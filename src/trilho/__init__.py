"""Durable background jobs, event streams and sagas: PostgreSQL is the truth, brokers are only pipes."""

from trilho.app import Trilho
from trilho.db.transaction import AsyncTx, Tx
from trilho.errors import (
    ClaimLost,
    ConfigurationError,
    DuplicateJob,
    JobStateError,
    PayloadTooLarge,
    TransactionError,
    TrilhoError,
    UnknownJob,
)
from trilho.jobs.job import Attempt, Job, JobFilter, JobPage
from trilho.jobs.result import Result
from trilho.jobs.stats import QueueDepth, QueueStats, WorkerStats
from trilho.jobs.task import Task

__all__ = [
    "AsyncTx",
    "Attempt",
    "ClaimLost",
    "ConfigurationError",
    "DuplicateJob",
    "Job",
    "JobFilter",
    "JobPage",
    "JobStateError",
    "PayloadTooLarge",
    "QueueDepth",
    "QueueStats",
    "Result",
    "Task",
    "TransactionError",
    "Trilho",
    "TrilhoError",
    "Tx",
    "UnknownJob",
    "WorkerStats",
]
