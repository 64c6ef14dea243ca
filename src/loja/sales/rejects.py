"""The rows of a file that are no sales: all are counted, a few are kept to be looked at."""

from collections import Counter
from dataclasses import dataclass, field

from loja.sales.reader import Reject

MAX_EXAMPLES = 10
MAX_SHOWN = 80


@dataclass(slots=True)
class Rejects:
    """Counts by reason, and the first rejects of the file."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Reject] = field(default_factory=list)

    def add(self, reject: Reject) -> None:
        """Count one row, and keep it while there is room."""
        self.reasons[reject.reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(reject._replace(value=reject.value[:MAX_SHOWN]))

    @property
    def count(self) -> int:
        """Number of rejected rows."""
        return self.reasons.total()
