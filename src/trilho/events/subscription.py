"""Subscriptions: a handler, the topics of which it handles events, and how what fails is treated."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_type_hints

from pydantic.errors import PydanticUserError

from trilho.db.transaction import Tx
from trilho.errors import ConfigurationError, NoHandlers
from trilho.events.options import OnFailure, Start, check, named
from trilho.events.reading import Reading
from trilho.events.retry import Retry


@dataclass(frozen=True)
class Subscription:
    """One handler. `batch` is the most events of one transaction, and of one call where the handler takes a list."""

    handler: Callable[..., Any]
    topics: tuple[str, ...]
    group: str
    retry: Retry
    on_failure: OnFailure
    batch: int
    start: Start
    transactional: bool
    reading: Reading
    tx_name: str | None
    is_async: bool
    timeline: bool

    @property
    def most(self) -> int:
        """The most events that count together: without a transaction around them, each counts by itself."""
        return self.batch if self.transactional else 1

    @classmethod
    def of(cls, handler: Callable[..., Any], **options: Any) -> "Subscription":
        """A subscription as the handler's signature has it; raises ConfigurationError that names the handler."""
        check(handler, options)
        if not options["topics"]:
            raise ConfigurationError(f"{named(handler)} subscribes to no topic")
        reading, tx_name = _taken(handler)
        if tx_name is not None and not options["transactional"]:
            raise ConfigurationError(f"{named(handler)} takes a Tx, so it cannot be transactional=False")
        if options["timeline"] is None:
            options["timeline"] = not reading.many
        is_async = inspect.iscoroutinefunction(handler)
        return cls(handler, reading=reading, tx_name=tx_name, is_async=is_async, **options)


def _taken(handler: Callable[..., Any]) -> tuple[Reading, str | None]:
    """What the handler takes: the event, and the name of its Tx if it wants one; raises ConfigurationError."""
    try:
        signature, hints = inspect.signature(handler), get_type_hints(handler)
        tx_name = next((name for name in signature.parameters if hints.get(name) is Tx), None)
        bound = signature.bind(None, **({} if tx_name is None else {tx_name: None}))
        event = next(name for name in bound.arguments if name != tx_name)
        return Reading.of(hints.get(event)), tx_name
    except (TypeError, NameError, PydanticUserError) as error:
        raise ConfigurationError(
            f"{named(handler)} must take one event first, and may take a Tx after it: {error}"
        ) from error


ByTopic: TypeAlias = Mapping[tuple[str, str], Subscription]
"""Subscriptions by group and topic."""


@dataclass
class Subscriptions:
    """All handlers of one application."""

    _by_lane: dict[tuple[str, str], Subscription] = field(default_factory=dict)

    def add(self, subscription: Subscription) -> None:
        """Register; raises ConfigurationError for a second handler of one group and topic."""
        for topic in subscription.topics:
            known = self._by_lane.setdefault((subscription.group, topic), subscription)
            if known is not subscription:
                raise ConfigurationError(
                    f"group {subscription.group!r} has a handler for topic {topic!r} already: "
                    "give the second one a group of its own"
                )

    def of(self, groups: Collection[str] = ()) -> ByTopic:
        """The subscriptions of these groups, or of all; raises ConfigurationError, NoHandlers."""
        known = {group for group, _ in self._by_lane}
        if unknown := sorted(set(groups) - known):
            raise ConfigurationError(f"no handler for group {', '.join(map(repr, unknown))}; there are {sorted(known)}")
        if not known:
            raise NoHandlers
        return {key: subscription for key, subscription in self._by_lane.items() if not groups or key[0] in groups}
