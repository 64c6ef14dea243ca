"""AsyncResult on the rows: an id that was never enqueued is told from one that waits."""

from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celery._state import app_or_default
from celery.result import AsyncResult
from vine import promise

R = TypeVar("R")


class Result(AsyncResult, Generic[R]):  # type: ignore[misc]
    """Handle of a job; may be awaited, harmlessly, so that one name serves sync and async code."""

    id: str
    app: Any = None

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: Any = None,
        task_name: str | None = None,
        app: Any = None,
        parent: Any = None,
    ) -> None:
        """As Celery's, but for the promise: most handles are dropped, and it is half of what one costs."""
        if id is None:
            raise ValueError("a handle needs the id of a job, not None")
        self.app = app_or_default(app or self.app)
        self.id = id
        self.backend = backend or self.app.backend
        self.parent = parent
        self._cache = None
        self._ignored = False

    @cached_property
    def on_ready(self) -> Any:
        """Where `then()` hangs what is to be called at the end."""
        return promise(self._on_fulfilled, weak=True)

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
