"""JSON of arguments and results: what kombu's JSON round-trips, plus Pydantic models and dataclasses by annotation."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args, get_type_hints

from kombu.utils import json as kombu_json
from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json

from trilho.errors import PayloadTooLarge


class Encoder(kombu_json.JSONEncoder):  # type: ignore[misc]
    """kombu's encoder, for models and dataclasses too."""

    def default(self, o: Any) -> Any:
        """A JSON value for `o`; raises TypeError if there is none."""
        if isinstance(o, BaseModel):
            return o.model_dump(mode="json")
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
        return super().default(o)


_DECODER = json.JSONDecoder(object_hook=kombu_json.object_hook)
_ENCODER = Encoder(separators=(",", ":"))
_TYPED = '"__type__"'
"""What every text contains in which kombu has wrapped a value that JSON does not know."""


def dumps(value: Any) -> str:
    """JSON text; raises TypeError for what cannot be stored."""
    text: str = _ENCODER.encode(value)
    return text


DEEPEST = 200
"""Levels of lists and objects, that of all arguments among them. Fast readers of JSON take no more, and Python's own,
deep in the stack of a worker, takes less than a thousand."""


def stored(value: Any) -> str:
    """JSON text of what a user gives to be kept; raises TypeError, ValueError or RecursionError for what cannot be."""
    text = dumps(value)
    if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(text):
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    return text


def _is_too_deep(text: str) -> bool:
    try:
        from_json(text.replace(r"\ud", r"\u0"))  # half of a surrogate pair, which it refuses, is no question of depth
    except ValueError:
        return True
    return False


def loads(text: str | None) -> Any:
    """The value of a JSON text; None for no text."""
    if text is None:
        return None
    if _TYPED not in text:
        with suppress(ValueError):  # half of a surrogate pair, very deep nesting: Python's decoder takes these, too
            return from_json(text)
    return _DECODER.decode(text)


def dump_arguments(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> tuple[str, str]:
    """Both argument texts; raises TypeError that names the argument, or PayloadTooLarge above `limit` bytes."""
    try:
        texts = stored(list(args)), stored(dict(kwargs)) if kwargs else "{}"
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(_culprit(task, args, kwargs) or f"the arguments of {task} cannot be stored: {error}") from error
    ensure_fits(f"the arguments of {task}", len(texts[0]) + len(texts[1]), limit)
    return texts


def dump_value(what: str, value: Any, limit: int) -> str:
    """JSON text; raises TypeError, with what it is, for what cannot be stored, PayloadTooLarge above `limit` bytes."""
    try:
        text = stored(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} cannot be stored as JSON: {error}") from error
    ensure_fits(what, len(text), limit)
    return text


def ensure_fits(what: str, size: int, limit: int) -> None:
    """Raise PayloadTooLarge if `size` bytes are above `limit`."""
    if size > limit:
        raise PayloadTooLarge(
            f"{what}: {size} bytes of JSON, above the limit of {limit} (TRILHO_MAX_PAYLOAD): "
            "store the data elsewhere and pass a reference"
        )


def _culprit(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    named = [(f"argument {index}", value) for index, value in enumerate(args)]
    for name, value in named + [(f"argument {key!r}", value) for key, value in kwargs.items()]:
        try:
            stored(value)
        except (TypeError, ValueError, RecursionError) as error:
            return f"{name} of {task} cannot be stored as JSON: {error} (it is a {type(value).__name__})"
    return None


MAX_ERROR = 100_000
"""Characters that are kept of the text of an exception or a traceback."""


def shortened(text: str) -> str:
    """The beginning and the end of a text that is too long."""
    half = MAX_ERROR // 2
    return text if len(text) <= MAX_ERROR else f"{text[:half]} … {text[-half:]}"


Decoder = Callable[[Sequence[Any], Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]


def decoder_for(function: Callable[..., Any], skip_first: bool) -> Decoder | None:
    """What turns stored arguments into what the annotations ask for; None if they ask for nothing special."""
    parameters = list(inspect.signature(function).parameters.values())[1 if skip_first else 0 :]
    try:
        hints = get_type_hints(function)
    except NameError:  # an annotation that only a type checker can resolve
        return None
    adapters = {p.name: TypeAdapter(hints[p.name]) for p in parameters if _is_rich(hints.get(p.name))}
    if not adapters:
        return None
    names = [p.name for p in parameters]

    def decode(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        positional = [
            adapters[name].validate_python(value) if name in adapters else value
            for name, value in zip(names, args, strict=False)
        ]
        named = {
            name: adapters[name].validate_python(value) if name in adapters else value for name, value in kwargs.items()
        }
        return positional + list(args[len(names) :]), named

    return decode


def _is_rich(annotation: Any) -> bool:
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        return True
    return any(_is_rich(part) for part in get_args(annotation))
