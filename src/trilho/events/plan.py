"""What to do after a batch: decided from what happened, without I/O."""

from dataclasses import dataclass
from typing import Literal

Step = Literal["go on", "again", "park", "wait"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The handler failed at the event with this index of its batch; None when nobody can tell which it was."""

    index: int | None
    error: BaseException
    transient: bool = False
    contention: bool = False  # a deadlock or a serialization failure


@dataclass(frozen=True, slots=True)
class Next:
    """The next step of a lane, with the size of its next batch and seconds to wait before it."""

    step: Step
    limit: int
    pause: float = 0.0


ALONE_AT_FIRST, ALONE_AT_MOST = 100, 10_000


@dataclass
class Company:
    """Whether the batches of a group run one at a time, in all lanes of this process: since a deadlock, for a while.

    A deadlock costs its lanes PostgreSQL's `deadlock_timeout`, a second, and large batches of shared rows make
    deadlocks over and over. Alone, a batch keeps its size; a smaller one would only make them less likely.
    """

    alone_for: int = 0  # batches
    next_time: int = ALONE_AT_FIRST

    @property
    def alone(self) -> bool:
        """Whether the next batch runs alone."""
        return self.alone_for > 0

    def contention(self) -> None:
        """Batches got into each other's way."""
        self.alone_for = self.next_time
        self.next_time = min(ALONE_AT_MOST, self.next_time * 4)

    def well(self) -> None:
        """A batch went well."""
        if self.alone_for > 0:
            self.alone_for -= 1


def after(size: int, limit: int, most: int, failure: Failure | None, troubles: int, alone: bool = False) -> Next:
    """What follows a batch of `size` events read with `limit`; `troubles` are transient failures in a row.

    A failing event is reached by itself before it is parked, so that what came before it in its batch counts first. A
    batch that met a deadlock though it ran alone, or another trouble, is halved and grows back slowly.
    """
    if failure is None:
        return Next("go on", min(most, limit + max(1, limit // 4)))
    if failure.transient:
        smaller = alone or not failure.contention
        return Next("wait", max(1, size // 2) if smaller else limit, min(5.0, 0.02 * 2 ** min(troubles, 8)))
    if size == 1:
        return Next("park", most)
    if failure.index:
        return Next("again", failure.index)
    return Next("again", 1 if failure.index == 0 else max(1, size // 2))
