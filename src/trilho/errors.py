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


class KeyHeld(JobStateError):
    """The finished job cannot run again now: another one with the same unique key waits or runs."""

    def __init__(self, job_id: str, state: str, holder: str) -> None:
        super().__init__(job_id, state, "retry")
        self.holder = holder

    def __str__(self) -> str:
        return f"cannot retry job {self.job_id!r}: job {self.holder!r} has its unique key"


class KafkaAway(TrilhoError, ConnectionError):
    """Kafka does not answer now; events wait where they are. The message names `TRILHO_KAFKA_BOOTSTRAP`."""


class KafkaRefused(TrilhoError):
    """Kafka was reached and says no; `code` is Kafka's number of the error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class PayloadTooLarge(TrilhoError, ValueError):
    """Arguments or result are larger than `TRILHO_MAX_PAYLOAD`; store the data elsewhere and pass a reference."""


class TransactionError(TrilhoError, RuntimeError):
    """The ambient transaction was used by another thread or task, after its end, or is missing where it is required."""


class Interrupted(KeyboardInterrupt):
    """Raised in a body that runs in a thread and has to end: its job was cancelled, its time limit is over, or its
    worker stops or lost its lease. Clean up in `finally` and let it pass; `except Exception` does not catch it."""


class ClaimLost(TrilhoError):
    """The claim of this attempt belongs to another worker by now, so nothing that it wrote may count."""


class EventSchemaError(TrilhoError, ValueError):
    """The data of an event does not fit the declared schema of its topic; nothing was published."""

    def __init__(self, topic: str, fields: str) -> None:
        super().__init__(f"the data does not fit the schema of topic {topic!r}: {fields}")
        self.topic = topic


class NoHandlers(ConfigurationError):
    """The app has no event handlers at all, so there is nothing for a consumer to do."""

    def __init__(self) -> None:
        super().__init__("the app has no event handlers: @app.bus.subscribe(topic) makes one")


class UnknownTopic(TrilhoError, LookupError):
    """No event was ever published to this topic, and nobody declared it."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic {topic!r}: nobody declared it or published to it")
        self.topic = topic


class UnknownGroup(TrilhoError, LookupError):
    """The consumer group has not read anything yet."""

    def __init__(self, group: str) -> None:
        super().__init__(f"there is no consumer group {group!r} with that topic: nobody has read for it yet")
        self.group = group


class GroupActive(TrilhoError):
    """The consumer group has members, so its offsets cannot be reset now."""

    def __init__(self, group: str, members: list[str]) -> None:
        super().__init__(f"group {group!r} has {len(members)} member(s) ({', '.join(members)}): stop them first")
        self.group = group
        self.members = members


class PermanentError(TrilhoError):
    """Raise it in a step that no other attempt would help: it is not tried again, and the saga hears of it at once."""


class SagaTimeout(TrilhoError, TimeoutError):
    """The time for a step, a wait, or a whole saga was over before it came to its end."""


class UnknownSaga(TrilhoError, LookupError):
    """No saga has this id: it was never started, or its transaction did not commit."""

    def __init__(self, saga_id: str) -> None:
        super().__init__(
            f"no saga has the id {saga_id!r}: it was never started, or its transaction was rolled back or is still open"
        )
        self.saga_id = saga_id


class DuplicateSaga(TrilhoError, ValueError):
    """The id belongs to another run already: of another saga, caller or arguments; nothing was started."""

    def __init__(self, saga_id: str) -> None:
        super().__init__(f"a saga with the id {saga_id!r} exists already: of another saga, caller or arguments")
        self.saga_id = saga_id


class SagaStateError(TrilhoError):
    """The saga is in a state in which this cannot be done (a signal to a finished one, a retry of one that runs)."""

    def __init__(self, saga_id: str, state: str, action: str, more: str = "") -> None:
        super().__init__(f"cannot {action} saga {saga_id!r}: it is {state}{more}")
        self.saga_id = saga_id
        self.state = state


class SagaFailed(TrilhoError):
    """The saga did not complete: whatever it had done was undone. The exception that ended it is the cause."""

    def __init__(self, saga_id: str, error: str) -> None:
        super().__init__(f"saga {saga_id!r} was undone: {error}")
        self.saga_id = saga_id
        self.error = error


class SagaStuck(SagaFailed):
    """The saga waits for a person: an undo gave up, or the code does not fit the record."""

    def __init__(self, saga_id: str, error: str) -> None:
        TrilhoError.__init__(self, f"saga {saga_id!r} is STUCK: {error}")
        self.saga_id = saga_id
        self.error = error


class SagaLimit(PermanentError):
    """A saga has recorded as much as a run may; split it with `saga.call`, or begin anew with `start`."""
