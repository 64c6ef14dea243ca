"""How long jobs take here, and what follows: how many share a slice, and how many to hold for each process."""

from collections.abc import Sequence
from dataclasses import dataclass

from trilho.jobs.tally import SLICE

MOST = 64
"""Jobs of one slice."""

AIM = SLICE / 2
"""Seconds that a slice is to last: if it were all it may, every hiccup would have some of its jobs given back."""

SHORT = 0.05
"""Seconds: while jobs take less on average, messages are acknowledged early so that the next ones come in time."""

AHEAD = 4
"""Wake-ups held for each process while jobs are short."""

WEIGHT = 0.4
LONGEST = 1.0
"""Seconds that a single measurement counts for at most: a rare long job must not slow many short ones down."""


@dataclass
class Pace:
    """A moving average; nothing is known at first, so nothing is shared."""

    average: float = LONGEST

    def measured(self, seconds: Sequence[float]) -> None:
        """Jobs of one slice took so long, each without what they share: the claim and the writing."""
        if seconds:
            mean = sum(min(LONGEST, each) for each in seconds) / len(seconds)
            self.average = (1 - WEIGHT) * self.average + WEIGHT * mean

    def is_short(self) -> bool:
        """Whether a process will soon want its next job."""
        return self.average < SHORT

    def share(self) -> int:
        """How many jobs a slice may have."""
        return max(1, min(MOST, int(AIM / max(self.average, AIM / MOST))))

    def ahead(self) -> int:
        """How many wake-ups to hold for each process; in few steps, for each change may be a word with the broker."""
        return max(AHEAD, 1 << self.share().bit_length()) if self.is_short() else 1
