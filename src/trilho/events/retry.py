"""How often, and when, a failing event is tried again; pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempts in all; the pauses between them, in seconds, double up to the longest."""

    attempts: int = 5
    delay: float = 1.0
    longest: float = 300.0
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.delay < 0 or self.longest < self.delay:
            raise ValueError("Retry needs attempts >= 1 and 0 <= delay <= longest")

    def pause(self, attempts: int, error: BaseException) -> float | None:
        """Seconds to wait after so many attempts; None when there is to be no other."""
        if attempts >= self.attempts or isinstance(error, self.give_up_on):
            return None
        return float(min(self.longest, self.delay * 2 ** (attempts - 1)))
