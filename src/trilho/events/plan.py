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


@dataclass(frozen=True, slots=True)
class Next:
    """The next step of a lane, with the size of its next batch and seconds to wait before it."""

    step: Step
    limit: int
    pause: float = 0.0


def after(size: int, limit: int, most: int, failure: Failure | None, troubles: int) -> Next:
    """What follows a batch of `size` events read with `limit`; `troubles` are transient failures in a row.

    A failing event is reached by itself before it is parked, so that what came before it in its batch counts first. A
    batch that met a deadlock is halved and grows back slowly: large batches of shared rows make deadlocks likely.
    """
    if failure is None:
        return Next("go on", min(most, limit + max(1, limit // 4)))
    if failure.transient:
        return Next("wait", max(1, size // 2), min(5.0, 0.02 * 2 ** min(troubles, 8)))
    if size == 1:
        return Next("park", most)
    if failure.index:
        return Next("again", failure.index)
    return Next("again", 1 if failure.index == 0 else max(1, size // 2))
