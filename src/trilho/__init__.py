"""Durable background jobs and events: PostgreSQL is the truth, brokers are only pipes."""

from trilho.app import Trilho
from trilho.db.transaction import AsyncTx, Tx
from trilho.errors import (
    ClaimLost,
    ConfigurationError,
    DuplicateJob,
    DuplicateSaga,
    EventSchemaError,
    GroupActive,
    Interrupted,
    JobStateError,
    KeyHeld,
    PayloadTooLarge,
    PermanentError,
    SagaFailed,
    SagaLimit,
    SagaStateError,
    SagaStuck,
    SagaTimeout,
    TransactionError,
    TrilhoError,
    UnknownGroup,
    UnknownJob,
    UnknownSaga,
    UnknownTopic,
)
from trilho.events.event import Event, Published
from trilho.events.reset import ResetTarget
from trilho.events.retry import Retry
from trilho.jobs.job import Attempt, Job, JobFilter, JobPage
from trilho.jobs.result import Result
from trilho.jobs.stats import QueueDepth, QueueStats, WorkerStats
from trilho.jobs.task import Task
from trilho.jobs.unique import Unique
from trilho.sagas.handle import SagaHandle
from trilho.sagas.saga import Saga
from trilho.sagas.shape import IdempotencyKey
from trilho.sagas.view import SagaFilter, SagaPage, SagaRun, SagaStep

__all__ = [
    "AsyncTx",
    "Attempt",
    "ClaimLost",
    "ConfigurationError",
    "DuplicateJob",
    "DuplicateSaga",
    "Event",
    "EventSchemaError",
    "GroupActive",
    "IdempotencyKey",
    "Interrupted",
    "Job",
    "JobFilter",
    "JobPage",
    "JobStateError",
    "KeyHeld",
    "PayloadTooLarge",
    "PermanentError",
    "Published",
    "QueueDepth",
    "QueueStats",
    "ResetTarget",
    "Result",
    "Retry",
    "Saga",
    "SagaFailed",
    "SagaFilter",
    "SagaHandle",
    "SagaLimit",
    "SagaPage",
    "SagaRun",
    "SagaStateError",
    "SagaStep",
    "SagaStuck",
    "SagaTimeout",
    "Task",
    "TransactionError",
    "Trilho",
    "TrilhoError",
    "Tx",
    "Unique",
    "UnknownGroup",
    "UnknownJob",
    "UnknownSaga",
    "UnknownTopic",
    "WorkerStats",
]
