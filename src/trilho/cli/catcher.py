"""The mail catcher of a stack: whether there is one, and on which port."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from trilho.embedded.mailbox import FOLDER
from trilho.embedded.ports import HOST, free_port, taken

_PORT_FILE = "port"


def url(port: int) -> str:
    """Where a catcher of this stack is reached."""
    return f"smtp://{HOST}:{port}"


def is_installed() -> bool:
    """Whether the extra `mail` is there."""
    return find_spec("aiosmtpd") is not None


def wanted(data: Path, given: str | None) -> bool:
    """Whether the stack runs a catcher: not if another server is given; a joined shell may give the last one's URL."""
    last = _last_port(data)
    return not given or (last is not None and given == url(last))


def choose_port(data: Path) -> int:
    """The port of the last time, if it is free, so that what other shells were told stays true; else a free one."""
    last = _last_port(data)
    port = last if last is not None and not taken(last) else free_port()
    folder = data / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _PORT_FILE).write_text(str(port))
    return port


def _last_port(data: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((data / FOLDER / _PORT_FILE).read_text())
    return None
