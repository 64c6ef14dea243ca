"""Where a reset lets a group read from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trilho.events.log_admin import Extent

ResetTo = Literal["earliest", "latest", "offset", "time"]


@dataclass(frozen=True)
class ResetTarget:
    """Where a group is to read from: `offset` and `time` belong to the values of `to` with their names."""

    to: ResetTo
    offset: int | None = None
    time: datetime | None = None
    partition: int | None = None

    def __post_init__(self) -> None:
        if (self.to == "offset") != (self.offset is not None) or (self.to == "time") != (self.time is not None):
            raise ValueError(
                "a reset to an offset needs offset=, one to a time needs time=, and the others take neither"
            )


def placed(target: ResetTarget, extent: Extent, at: int | None) -> int:
    """The offset inside what the partition has; `at` is that of the target's time, None if nothing came since."""
    wanted = {"earliest": extent.first, "latest": extent.next, "offset": target.offset, "time": at}[target.to]
    return min(extent.next, max(extent.first, extent.next if wanted is None else wanted))
