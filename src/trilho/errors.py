"""Every error that Trilho raises on purpose; the docstring says what happened and what to do."""


class TrilhoError(Exception):
    """Base of all errors of Trilho."""


class ConfigurationError(TrilhoError):
    """A setting is missing or cannot be used; the message names the variable."""


class UnknownJob(TrilhoError, LookupError):
    """No job has this id: it was never enqueued, or its transaction did not commit."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"no job has the id {job_id!r}: it was never enqueued, or its transaction was rolled back or is still open"
        )
        self.job_id = job_id


class DuplicateJob(TrilhoError, ValueError):
    """The id belongs to another job already; nothing was enqueued. Choose another `task_id`."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"a job with the id {job_id!r} exists already with another task or other arguments")
        self.job_id = job_id


class JobStateError(TrilhoError):
    """The job is in a state in which this cannot be done (a retry of a job that runs, a cancel of a finished one)."""

    def __init__(self, job_id: str, state: str, action: str) -> None:
        super().__init__(f"cannot {action} job {job_id!r}: it is {state}")
        self.job_id = job_id
        self.state = state


class PayloadTooLarge(TrilhoError, ValueError):
    """Arguments or result are larger than `TRILHO_MAX_PAYLOAD`; store the data elsewhere and pass a reference."""


class TransactionError(TrilhoError, RuntimeError):
    """The ambient transaction was used by another thread or task, after its end, or is missing where it is required."""


class ClaimLost(TrilhoError):
    """The claim of this attempt belongs to another worker by now, so nothing that it wrote may count."""
