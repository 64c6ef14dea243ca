"""AsyncResult on the rows: an id that was never enqueued is told from one that waits."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celery.result import AsyncResult

R = TypeVar("R")


class Result(AsyncResult, Generic[R]):  # type: ignore[misc]
    """Handle of a job; may be awaited, harmlessly, so that one name serves sync and async code."""

    id: str

    if TYPE_CHECKING:

        def get(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> R:
            """Wait for the end, `timeout` in seconds; raises what the body raised, UnknownJob, or TimeoutError."""
            ...

    def exists(self) -> bool:
        """Whether the job has a row: enqueued, and its transaction committed."""
        found: bool = self.backend.task_result_exists(self.id)
        return found

    def __await__(self) -> Generator[Any, None, "Result[R]"]:
        """The handle itself."""
        return self
        yield
