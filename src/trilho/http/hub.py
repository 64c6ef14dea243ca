"""Who watches jobs in this process: one query for all of them, on one connection, while anybody watches."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from trilho.app import Trilho
from trilho.db.pool import Connection
from trilho.db.wakeups import Bell
from trilho.errors import UnknownJob
from trilho.http.leaving import Leaving
from trilho.http.schemas import TaskOut
from trilho.jobs.job import Job
from trilho.jobs.watch import UNSEEN, Change, announce, changes
from trilho.log import get_logger

GAP = 0.05
"""Shortest pause between two looks, in seconds, however many ends are announced."""
LISTENING, DEAF = 0.5, 0.25
"""Longest pause, with and without a connection that LISTENs for ends."""
AWAY = 1.0

# No line ends in server-sent events, but in many clients, which would see half a document.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """A job as `GET /tasks/{id}` shows it; `version` is the same wherever and whenever the text is."""

    version: str
    text: str
    finished: bool

    @classmethod
    def of(cls, job: Job) -> Self:
        """The document of a job."""
        text = TaskOut.of(job).model_dump_json().translate(_LINE_ENDS)
        return cls(hashlib.blake2b(text.encode(), digest_size=12).hexdigest(), text, job.finished)


class Watched:
    """One job, and those who watch it: each of them is shown the newest document only, however slow he reads."""

    def __init__(self) -> None:
        self.document: Document | None = None
        self.over = False
        self.watchers = 0
        self.seen = UNSEEN
        self.announced = ExitStack()
        self._changed = asyncio.Event()

    def show(self, document: Document | None) -> None:
        """Give everybody this document; None where the job is not there any more."""
        self.document = document
        self.wake()

    def end(self) -> None:
        """Send everybody home."""
        self.over = True
        self.wake()

    def wake(self) -> None:
        """Let everybody look."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, seconds: float) -> bool:
        """Wait for the next change; False if none came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._changed.wait()
        return False


class Alarm(Bell):
    """A bell that the event loop hears."""

    def __init__(self, woken: asyncio.Event) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._woken = woken

    def ring(self, key: str | None) -> None:
        """Wake the hub; it looks at every job anyway."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._woken.set)


class Hub:
    """Everybody who watches jobs of one application in this process."""

    def __init__(self, app: Trilho) -> None:
        self._app = app
        self._watched: dict[str, Watched] = {}
        self._asked: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._leaving = Leaving(self.close)
        self._closed = False
        self._away = False

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Open while the API is."""
        self._closed = False
        yield
        self.close()

    def close(self) -> None:
        """Send everybody home: the server wants to stop, and would wait for them."""
        self._closed = True
        for watched in self._watched.values():
            watched.end()

    @asynccontextmanager
    async def watching(self, job_id: str) -> AsyncIterator[Watched]:
        """A job that was looked at just now, and is from now on; raises UnknownJob, or what the database raises."""
        watched = self._enter(job_id)
        try:
            await self._look_from_now_on()
            if watched.document is None:
                raise UnknownJob(job_id)
            yield watched
        finally:
            self._leave(job_id, watched)

    def _enter(self, job_id: str) -> Watched:
        if self._task is None:
            self._woken = asyncio.Event()
            self._alarm = Alarm(self._woken)
            self._leaving.begin()
            self._task = asyncio.create_task(self._run())
        watched = self._watched.setdefault(job_id, Watched())
        watched.watchers += 1
        watched.over = self._closed
        return watched

    def _leave(self, job_id: str, watched: Watched) -> None:
        watched.watchers -= 1
        if not watched.watchers:
            watched.announced.close()
            del self._watched[job_id]
        if not self._watched and self._task is not None:
            self._task.cancel()
            self._task = None
            self._leaving.end()

    async def _look_from_now_on(self) -> None:
        looked = asyncio.get_running_loop().create_future()
        self._asked.append(looked)
        self._woken.set()
        await looked

    # ---- the loop

    async def _run(self) -> None:
        while True:
            asked, self._asked = self._asked, []
            pause = await self._look(asked)
            await asyncio.sleep(GAP)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            self._woken.clear()

    async def _look(self, asked: list[asyncio.Future[None]]) -> float:
        """Look at every job once and tell who asked for that; the pause after it."""
        seen = {job_id: watched.seen for job_id, watched in self._watched.items()}
        try:
            found = await asyncio.to_thread(self._app.database.run, _changes, seen)
        except Exception as error:  # whatever it is: this task must not end under those who watch
            if not self._away:
                log.warning("watch.failed", error=str(error), kind=type(error).__name__)
            self._away = True
            _answer(asked, error)
            return AWAY
        self._away = False
        for change, document in found:
            self._apply(change, document)
        _answer(asked)
        return LISTENING if self._app.waiter.listener.connected.is_set() else DEAF

    def _apply(self, change: Change, document: Document | None) -> None:
        watched = self._watched.get(change.id)
        if watched is None:
            return
        if watched.seen == UNSEEN and document is not None and not document.finished:
            watched.announced.enter_context(self._app.waiter.listener.watching([change.id], self._alarm))
        watched.seen = change.version or UNSEEN
        watched.show(document)


def _answer(asked: Sequence[asyncio.Future[None]], error: Exception | None = None) -> None:
    for looked in asked:
        if looked.done():  # who asked is gone
            continue
        if error is None:
            looked.set_result(None)
        else:
            looked.set_exception(error)


def _changes(connection: Connection, seen: Mapping[str, str]) -> list[tuple[Change, Document | None]]:
    found = changes(connection, seen)
    fresh = [change.id for change in found if seen[change.id] == UNSEEN and change.job and not change.job.finished]
    if fresh:
        announce(connection, fresh)
    return [(change, _document(change.job)) for change in found]


def _document(job: Job | None) -> Document | None:
    try:
        return None if job is None else Document.of(job)
    except ValueError as error:  # one result that no JSON can show must not stop the streams of all others
        log.warning("watch.not_shown", job=job and job.id, error=str(error))
        return None
