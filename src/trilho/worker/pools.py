"""The pools that a worker may have, and what it needs of each."""

from typing import TYPE_CHECKING, Protocol

from celery.concurrency import prefork, solo, thread

from trilho.errors import ConfigurationError
from trilho.worker.processes import Processes
from trilho.worker.slice import Slice
from trilho.worker.threads import Threads

if TYPE_CHECKING:
    from trilho.worker.consumer import JobConsumer


class Bodies(Protocol):
    """Where bodies run, and how they are ended."""

    name: str
    """What the pool is called on the command line."""
    one_by_one: bool
    """Whether a body keeps the event loop from running."""
    shares: bool
    """Whether a slice may have several jobs."""

    def begin(self) -> None:
        """The pool has started; called in the main thread."""
        ...

    def run(self, under_way: Slice) -> None:
        """Begin a slice; the batcher is called back in its event loop."""
        ...

    def end(self, under_way: Slice) -> None:
        """End the bodies of a slice; from any thread, and as often as one likes."""
        ...

    def bury(self, under_way: Slice) -> None:
        """The process of a slice is gone: end what its bodies had started."""
        ...

    def is_busy(self) -> bool:
        """Whether a body may be running; from any thread."""
        ...

    def fence(self, under_way: list[Slice], seconds: float) -> None:
        """Return when these slices are over; where they cannot be ended in time, end this process."""
        ...

    def abandon(self) -> None:
        """The bodies do not end although they were asked to: end this process, if that is what it takes."""
        ...

    def leave(self) -> None:
        """The worker ends in order."""
        ...


def bodies_of(consumer: "JobConsumer") -> Bodies:
    """What fits the pool of a worker; raises ConfigurationError for one in which bodies cannot be fenced."""
    pool = consumer.pool
    if pool.limit > consumer.app.shared.slots:
        raise ConfigurationError(f"a worker has at most {consumer.app.shared.slots} bodies at a time: start several")
    if isinstance(pool, prefork.TaskPool):
        return Processes(consumer)
    if isinstance(pool, (thread.TaskPool, solo.TaskPool)):
        return Threads(consumer)
    kind = type(pool).__module__.rpartition(".")[2]
    raise ConfigurationError(
        f"the pool {kind} cannot be used: a body that never yields would keep the lease from being renewed; "
        "choose -P prefork, -P threads or -P solo, and `async def` for bodies that wait"
    )
