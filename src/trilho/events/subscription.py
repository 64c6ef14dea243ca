"""Subscriptions: a handler, the topics of which it handles events, and how what fails is treated."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_type_hints

from trilho.db.transaction import Tx
from trilho.errors import ConfigurationError, NoHandlers
from trilho.events.reading import Reading
from trilho.events.retry import Retry

OnFailure = Literal["dead_letter", "park"]
Start = Literal["earliest", "latest"]
MAX_BATCH = 10_000


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
        name = f"handler {options['group']!r}"
        if not options["topics"]:
            raise ConfigurationError(f"{name} subscribes to no topic")
        if not 1 <= options["batch"] <= MAX_BATCH:
            raise ConfigurationError(f"{name}: batch must be 1 to {MAX_BATCH}, not {options['batch']}")
        hints = get_type_hints(handler)
        tx_name = next((n for n in inspect.signature(handler).parameters if hints.get(n) is Tx), None)
        if tx_name is not None and not options["transactional"]:
            raise ConfigurationError(f"{name} takes a Tx, so it cannot be transactional=False")
        first = next((n for n in inspect.signature(handler).parameters if n != tx_name), None)
        if first is None:
            raise ConfigurationError(f"{name} takes no parameter for the event")
        is_async = inspect.iscoroutinefunction(handler)
        reading = Reading.of(hints.get(first))
        if options.get("timeline") is None:
            options["timeline"] = not reading.many
        return cls(handler, reading=reading, tx_name=tx_name, is_async=is_async, **options)


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
