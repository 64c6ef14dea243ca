"""A saga function and its options: `@app.saga` makes one of these, and `start` begins a run of it."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple

import uuid_utils
from pydantic import ValidationError

from trilho import trace
from trilho.db.text import checked, is_storable
from trilho.errors import ConfigurationError
from trilho.events.retry import Retry
from trilho.jobs import codec
from trilho.sagas.handle import SagaHandle
from trilho.sagas.record import LONGEST_NAME, MAX_ID, Run
from trilho.sagas.shape import Shape
from trilho.sagas.start import NewSaga
from trilho.sagas.store import TASK, stretch_headers

if TYPE_CHECKING:
    from trilho.app import Trilho

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True)
class SagaOptions:
    """How a saga runs; `timeout` is in seconds, `events` are the topics that `wait_event` may name."""

    name: str | None = None
    version: int = 1
    retry: Retry = field(default_factory=Retry)
    timeout: float | None = None
    queue: str | None = None
    events: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        queue: str | None = None,
        events: Iterable[str] = (),
    ) -> "SagaOptions":
        """From what the decorator was given."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        topics: Any = events if isinstance(events, str) or not isinstance(events, Iterable) else tuple(events)
        return cls(name, version, Retry() if retry is None else retry, seconds, queue, topics)

    def check(self, saga: str) -> None:
        """Raise ConfigurationError for the first option that cannot be used, with the name of its saga."""
        fits = {
            "name": (self.name is None or _is_text(self.name), f"a text of 1 to {LONGEST_NAME} characters"),
            "version": (_is_number(self.version, int, LARGEST_VERSION), "a whole number from 1"),
            "retry": (isinstance(self.retry, Retry), "a Retry(attempts=..., delay=...)"),
            "timeout": (
                self.timeout is None or _is_number(self.timeout, (int, float), LONGEST_TIMEOUT),
                "seconds above 0, or a timedelta, for a hundred years at most",
            ),
            "queue": (self.queue is None or _is_text(self.queue), "the name of a queue"),
            "events": (
                isinstance(self.events, tuple) and all(map(_is_text, self.events)),
                'topics in a tuple or list: events=("payment",)',
            ),
        }
        for option, (fit, wanted) in fits.items():
            if not fit:
                given = getattr(self, option)
                raise ConfigurationError(f"saga {saga!r:.80}: {option}= must be {wanted}, not {given!r:.80}")


LARGEST_VERSION = 2**31 - 1
LONGEST_TIMEOUT = 100 * 366 * 86_400


def _is_text(value: object) -> bool:
    return is_storable(value, LONGEST_NAME)


def _is_number(value: Any, kinds: Any, largest: int) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= largest


class SagaDefinition(Generic[R, *Ts]):
    """A saga function; called by `start`, never directly."""

    def __init__(
        self, app: "Trilho", function: Callable[..., Coroutine[Any, Any, R]], name: str, options: SagaOptions
    ) -> None:
        options.check(name)
        self.app, self.function, self.name, self.options = app, function, name, options
        self.shape = Shape(function, name, None)
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"saga {name!r} has to be `async def`: each of its steps is awaited")
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters:
            raise ConfigurationError(f"saga {name!r} needs a first parameter, which gets the Saga")
        self.signature = inspect.signature(function).replace(parameters=parameters[1:])
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    # ---- starting

    def start(self, *args: *Ts, id: str | None = None) -> SagaHandle[R]:  # noqa: A002 - the name of the column
        """Begin a run, in the ambient transaction or durably at once; `id=` makes it idempotent.

        Raises TypeError for arguments that do not fit or cannot be stored, PayloadTooLarge, and DuplicateSaga where the
        id belongs to a run with other arguments.
        """
        row, handle = self._begun(args, id)
        self.app.sagas.begin(row, fresh=id is None)
        return handle

    async def astart(self, *args: *Ts, id: str | None = None) -> SagaHandle[R]:  # noqa: A002 - as above
        """As `start`, without blocking the event loop."""
        row, handle = self._begun(args, id)
        await self.app.without_blocking(partial(self.app.sagas.begin, fresh=id is None), row)
        return handle

    def _begun(self, args: Sequence[Any], saga_id: str | None) -> tuple[NewSaga, SagaHandle[R]]:
        """The row of a new run and its handle. A run that may be there already may have ended already."""
        row = self.new(args, saga_id)
        bell = self.app.saga_lines.waiter.expecting(row.id) if saga_id is None else None
        return (row if bell is None else replace(row, awaited=True)), SagaHandle(self.app, row.id, self, bell)

    def new(self, args: Sequence[Any], saga_id: str | None) -> NewSaga:
        """The row of a new run; nothing is written."""
        saga_id = checked_id(saga_id)
        around = trace.current()
        correlation_id = around.correlation_id or saga_id
        return NewSaga(
            id=saga_id,
            name=self.name,
            version=self.options.version,
            queue=self.options.queue or self.app.conf.task_default_queue,
            args=self.dumped(args),
            stretch=str(uuid_utils.uuid7()),
            headers=stretch_headers(saga_id, correlation_id),
            timeout=self.options.timeout,
            topics=self.options.events,
            listens_from=datetime.now(timezone.utc),
            correlation_id=correlation_id,
            cause=around.causation_id,
            via=around.via,
        )

    # ---- arguments and result

    def dumped(self, args: Sequence[Any]) -> str:
        """The arguments by parameter, as JSON; raises TypeError that names the argument, PayloadTooLarge."""
        try:
            bound = self.signature.bind(*args)
        except TypeError as error:
            raise TypeError(f"saga {self.name}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._canonical(name, value)
        _, text = codec.dump_arguments(f"saga {self.name}", (), bound.arguments, self.app.settings.max_payload)
        for name, value in codec.loads(text).items():
            self._validated(name, value)
        return text

    def loaded(self, run: Run) -> inspect.BoundArguments:
        """The arguments as the function gets them; raises TypeError where the code has other ones by now."""
        given = codec.loads(run.args)
        bound = inspect.BoundArguments(self.signature, OrderedDict())
        for name, parameter in self.signature.parameters.items():
            if name not in given and parameter.default is parameter.empty:
                raise TypeError(f"saga {self.name}: the run has no argument {name!r}; give the parameter a default")
            bound.arguments[name] = self._validated(name, given[name]) if name in given else parameter.default
        return bound

    def result(self, text: str | None) -> Any:
        """A stored result as the annotation has it."""
        return self.shape.result(text)

    def _canonical(self, name: str, value: Any) -> Any:
        """The value as the annotation has it, so that equal arguments are stored alike; as given where that one does
        not come back from JSON as it was: secrets that a model masks, fields that it leaves out, sets."""
        validated = self._validated(name, value)
        if validated is value:
            return value
        try:
            comes_back = self._validated(name, codec.loads(codec.dumps(validated))) == validated
        except (TypeError, ValueError, RecursionError):
            return value
        return validated if comes_back else value

    def _validated(self, name: str, value: Any) -> Any:
        parameter = self.signature.parameters[name]
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return value
        try:
            return self.shape.validated(self.shape.hints.get(name), value)
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors()[:5])
            raise TypeError(f"argument {name!r} of saga {self.name} does not fit its annotation: {told}") from error

    @property
    def task_name(self) -> str:
        """The name of the task that runs stretches: workers that do not know the saga do not get them."""
        return TASK + self.name

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Not to be called: a saga runs in a worker."""
        raise TypeError(
            f"saga {self.name!r} is begun by .start(...); inside another saga, by saga.call({self.name}, …)"
        )

    def __repr__(self) -> str:
        return f"<saga {self.name}>"


def checked_id(saga_id: Any) -> str:
    """The id, a new one for None; raises ValueError for one that cannot be stored."""
    if saga_id is None:
        return str(uuid_utils.uuid7())
    return checked("id=", saga_id, MAX_ID)
