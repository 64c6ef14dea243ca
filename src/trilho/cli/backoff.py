"""When a crashed process is started again: decided here, done by the supervisor."""

from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STEADY = 60.0
"""Seconds after which a process counts as healthy, so that its next crash starts from the shortest delay again."""

PATIENCE = 3
"""Crashes in a row after which a process that was never ready ends the start of the stack."""


@dataclass(frozen=True)
class Backoff:
    """The crashes of one process so far, in a row."""

    crashes: int = 0

    def after_crash(self, uptime: float) -> "Backoff":
        """The next state for a process that ran for `uptime` seconds."""
        return Backoff(1 if uptime >= STEADY else self.crashes + 1)

    @property
    def delay(self) -> float:
        """Seconds to wait before the next start."""
        if self.crashes == 0:
            return 0.0
        return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self.crashes - 1, 10)))

    def hopeless(self, *, ever_ready: bool) -> bool:
        """Whether to give up: it never worked, so its configuration or code is wrong."""
        return not ever_ready and self.crashes >= PATIENCE
