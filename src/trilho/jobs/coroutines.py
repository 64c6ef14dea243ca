"""`async def` bodies: each thread that runs them keeps one event loop between them, so that pooled clients survive."""

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import copy_context
from functools import wraps
from typing import Any

from celery._state import _task_stack
from celery.exceptions import SoftTimeLimitExceeded

from trilho.db.pool import Database
from trilho.db.transaction import Owner, installed, lent_by
from trilho.jobs.attempt import running
from trilho.log import get_logger

log = get_logger("trilho.coroutines")

PATIENCE = 5.0
"""Seconds that tasks which a body left running have for their cancellation."""

Body = Callable[..., Any]


class _SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):  # type: ignore[misc]
    """What an await raises at the soft limit; a CancelledError too, so that TaskGroup and the like end their tasks."""


class Drive:
    """One coroutine and the task that runs it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._wanted: type[BaseException] | None = None
        self._instead: BaseException | None = None
        self._over = False

    def run(self, owner: Owner) -> Any:
        """The coroutine's result; raises what it raises."""
        self._task = self._loop.create_task(self._ended(owner))
        if self._wanted is not None:
            self._cancel()
        value, error = self._loop.run_until_complete(self._task)
        if error is not None:
            raise self._told(error)
        return value

    def is_stepping(self) -> bool:
        """Whether the coroutine's own code runs at this moment."""
        return self._task is not None and not self._over and asyncio.current_task(self._loop) is self._task

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise SoftTimeLimitExceeded at the next await; anything else cancels the task."""
        self._wanted = error
        if self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is None or self._over:
            return
        if self._wanted is SoftTimeLimitExceeded:
            self._instead = _SoftLimit()
        self._task.cancel()

    async def _ended(self, owner: Owner) -> tuple[Any, BaseException | None]:
        """Never raises: a BaseException in a task would tear the loop open."""
        try:
            with lent_by(owner):
                return await self, None
        except BaseException as error:
            return None, error
        finally:
            self._over = True
            await _end_others()

    def __await__(self) -> Generator[Any, Any, Any]:
        """The coroutine's steps, with the exception that was asked for in the place of a cancellation."""
        step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            try:
                yield awaited
                step = lambda: self._coroutine.send(None)  # noqa: E731
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step = self._throwing(error)

    def _throwing(self, error: BaseException) -> Callable[[], Any]:
        instead, self._instead = self._instead, None
        if instead is None or not isinstance(error, asyncio.CancelledError):
            return lambda: self._coroutine.throw(error)
        assert self._task is not None
        self._task.uncancel()
        return lambda: self._coroutine.throw(instead)

    def _told(self, error: BaseException) -> BaseException:
        """What the caller sees."""
        if isinstance(error, _SoftLimit):
            soft: BaseException = SoftTimeLimitExceeded(*error.args)
            return soft.with_traceback(error.__traceback__)
        if not isinstance(error, asyncio.CancelledError):
            return error
        if self._wanted is not None and self._wanted is not SoftTimeLimitExceeded:
            return self._wanted().with_traceback(error.__traceback__)
        told = RuntimeError("CancelledError left the body: something that it awaited was cancelled")
        return told.with_traceback(error.__traceback__)


async def _end_others() -> None:
    """Cancel what the body left running: it would go on under somebody else's attempt."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return
    log.warning("tasks.left_running", tasks=sorted(task.get_name() for task in left), hint="await them in the body")
    for task in left:
        task.cancel()
    ended, stubborn = await asyncio.wait(left, timeout=PATIENCE)
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task.failed", task=task.get_name(), error=repr(error))
    if stubborn:
        log.error("tasks.refuse_to_end", tasks=sorted(task.get_name() for task in stubborn))


class Coroutines:
    """The event loops of one application in one process."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._local = threading.local()
        self._inherited: list[asyncio.AbstractEventLoop] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in this thread, as the body of the running attempt if there is one."""
        try:
            return self._driven(coroutine)
        finally:
            coroutine.close()

    def _driven(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        drive = Drive(self._loop(), coroutine)
        attempt = running()
        with nullcontext() if attempt is None or attempt.body is None else attempt.body.driven_by(drive):
            return drive.run(Owner.current())

    def run_beside(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """As `run`, where an event loop runs in this thread already: in another one, while this one waits."""
        done: Future[Any] = Future()
        context, current = copy_context(), CurrentTask()

        def work() -> None:
            try:
                with current.also_here(), installed(None):
                    done.set_result(self.run(coroutine))
            except BaseException as error:  # to the caller, whatever it is
                done.set_exception(error)
            finally:
                self.close()

        thread = threading.Thread(target=context.run, args=(work,), name="trilho-body")
        thread.start()
        thread.join()
        return done.result()

    def close(self) -> None:
        """Close the loop of this thread, if it has one."""
        loop = self._kept()
        self._local.loop = None
        if loop is None or loop.is_closed():
            return
        loop.run_until_complete(self._database().dispose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._kept()
        if loop is None or loop.is_closed():
            loop = self._local.loop = asyncio.new_event_loop()
            self._local.pid = os.getpid()
        return loop

    def _kept(self) -> asyncio.AbstractEventLoop | None:
        """The loop of this thread. One that crossed a fork must not even be closed: the selector is shared."""
        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is not None and self._local.pid != os.getpid():
            self._inherited.append(loop)
            loop = self._local.loop = None
        return loop


class CurrentTask:
    """Celery's running task and its request, which it keeps for each thread."""

    def __init__(self) -> None:
        task = _task_stack.top
        self._entries = [] if task is None else [(_task_stack, task), (task.request_stack, task.request_stack.top)]

    @contextmanager
    def also_here(self) -> Iterator[None]:
        """Let this thread see them, too."""
        with ExitStack() as stack:
            for where, what in self._entries:
                where.push(what)
                stack.callback(where.pop)
            yield


def as_body(coroutines: Callable[[], Coroutines], function: Body, is_async: bool) -> Body:
    """What Celery calls for a function: runs what is `async def`, and lets the body of an attempt be interrupted.

    Called directly where an event loop runs, an `async def` gives its coroutine, to be awaited there.
    """

    @wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        attempt = running()
        with nullcontext() if attempt is None or attempt.body is None else attempt.body.entered():
            result = function(*args, **kwargs)
            if is_async:
                if not _loop_runs():
                    result = coroutines().run(result)
                elif _called_by_celery():
                    result = coroutines().run_beside(result)
                else:
                    return result
            return _finished(function, result)

    with suppress(ValueError):  # a builtin may have none
        body.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return body


def _finished(function: Body, result: Any) -> Any:
    """The result; raises TypeError for what nobody awaited or iterated over."""
    if inspect.iscoroutine(result):
        result.close()
    elif asyncio.isfuture(result):
        result.cancel()
    elif not inspect.isasyncgen(result):
        return result
    kind = "an async generator" if inspect.isasyncgen(result) else f"a {type(result).__name__.lower()}"
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(f"{name} returned {kind} that nobody awaited: make the task `async def`, or await it")


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _called_by_celery() -> bool:
    """Whether the tracer calls (a worker, `apply`, tests), and not somebody's own code."""
    task = _task_stack.top
    return task is not None and not task.request.called_directly
