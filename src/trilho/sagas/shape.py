"""What a function takes and gives: how the arguments of a step reach it, its undo, and its result comes back."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NewType, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from trilho.db.transaction import Tx
from trilho.jobs import codec
from trilho.jobs.task import Task

IdempotencyKey = NewType("IdempotencyKey", str)
"""Annotate a parameter of a step's function with this: it gets a text that is the same at every attempt."""

RESULT = "result"


@dataclass(frozen=True, eq=False)
class Shape:
    """One function or task, as steps see it."""

    function: Callable[..., Any]
    name: str
    task: Task[..., Any] | None
    adapters: dict[Any, TypeAdapter[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, function: Any) -> "Shape":
        """Raises TypeError for what cannot be a step."""
        if isinstance(function, Task):
            return cls(function.run, function.name, function)
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"a step is a task or a function, not {function!r}")
        return cls(function, getattr(function, "__qualname__", repr(function)).rpartition("<locals>.")[2], None)

    @cached_property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine, where it is no task."""
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """The annotations, as far as they can be resolved."""
        try:
            return get_type_hints(inspect.unwrap(self.function))
        except (NameError, TypeError):  # an annotation that only a type checker can resolve
            return {}

    @cached_property
    def given(self) -> Mapping[str, str]:
        """Parameters that Trilho fills: `tx` and `key` by name."""
        kinds = {Tx: "tx", IdempotencyKey: "key"}
        names = inspect.signature(self.function).parameters
        return {kinds[self.hints[name]]: name for name in names if self.hints.get(name) in kinds}

    @cached_property
    def signature(self) -> inspect.Signature:
        """The parameters that the step's arguments are for."""
        whole = inspect.signature(self.function)
        left = [p for p in whole.parameters.values() if p.name not in self.given.values()]
        return whole.replace(parameters=left)

    @cached_property
    def _fitting(self) -> range:
        """How many arguments fit for sure."""
        parameters = self.signature.parameters.values()
        if any(p.kind not in _POSITIONAL for p in parameters):
            return range(0)
        return range(sum(p.default is p.empty for p in parameters), len(parameters) + 1)

    def bound(self, args: Sequence[Any]) -> None:
        """Raise TypeError, with the name of the function, where the arguments do not fit."""
        if len(args) in self._fitting:
            return
        try:
            self.signature.bind(*args)
        except TypeError as error:
            raise TypeError(f"step {self.name}: {error}") from None

    def filled(self, tx: Any, key: str) -> dict[str, Any]:
        """What Trilho adds to the arguments."""
        values = {"tx": tx, "key": key}
        return {name: values[kind] for kind, name in self.given.items()}

    def decoded(self, args: Sequence[Any]) -> list[Any]:
        """Arguments out of the record, as the annotations have them."""
        names = [p.name for p in self.signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
        hints = [self.hints.get(name) for name in names]
        return [self.validated(hint, value) for hint, value in zip(hints, args, strict=False)] + list(
            args[len(names) :]
        )

    def result(self, text: str | None) -> Any:
        """A recorded result, as the annotation has it; raises TypeError where it does not fit."""
        try:
            return self.validated(self.hints.get("return"), codec.loads(text))
        except ValidationError as error:
            raise TypeError(f"the result of {self.name} does not fit its annotation: {error}") from error
        except PydanticUserError as error:
            raise TypeError(f"the annotation of what {self.name} returns cannot be checked: {error}") from error

    def validated(self, annotation: Any, value: Any) -> Any:
        """The value as an annotation wants it; raises ValidationError."""
        if annotation in PLAIN:
            return value
        adapter = self.adapters.get(annotation)
        if adapter is None:
            adapter = self.adapters[annotation] = TypeAdapter(annotation)
        return adapter.validate_python(value)


PLAIN = (None, Any, type(None), inspect.Signature.empty)


def undo_call(step: Shape, undo: Shape, args: Sequence[Any]) -> tuple[list[Any], dict[str, Any], bool]:
    """Positional and named arguments of an undo, and whether it takes the result; raises TypeError with the names.

    It gets the step's arguments in their order; where it takes fewer of them, those with the names of its parameters.
    """
    parameters = [p for p in undo.signature.parameters.values() if p.name != RESULT]
    wants_result = RESULT in undo.signature.parameters
    try:
        undo.signature.replace(parameters=parameters).bind(*args)
        return list(args), {}, wants_result
    except TypeError:
        named = {p.name: value for p, value in zip(step.signature.parameters.values(), args, strict=False)}
    missing = [p.name for p in parameters if p.default is p.empty and p.kind not in _OPEN_ENDED and p.name not in named]
    if missing:
        raise TypeError(
            f"the undo {undo.name} needs {', '.join(map(repr, missing))}, which it does not get: it gets the arguments "
            f"of the step {step.name} ({', '.join(named) or 'none'}), and `result` if it has that parameter"
        )
    return [], {p.name: named[p.name] for p in parameters if p.name in named}, wants_result


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OPEN_ENDED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
