"""The announcement of new events: a bell of a consumer process rings with the topics that have some."""

from trilho.db.wakeups import Bell

_PREFIX = "trilho:log:"


def arrival(topic: str) -> str:
    """What consumers of a topic listen for."""
    return _PREFIX + topic


def arrived(bell: Bell, seconds: float) -> set[str]:
    """Wait until topics may have something new; returns them, or nothing when nobody can tell."""
    bell.wait(seconds)
    return {key.removeprefix(_PREFIX) for key in bell.take()}
