"""Files around a server: the wheel that it comes from, the password that it asks for."""

import os
import secrets
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from trilho.errors import ConfigurationError


def wheel(package: str) -> Path:
    """The folder of an installed package, found without importing it; raises ConfigurationError."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f'{package} is not installed: pip install "trilho[embedded]"')
    return Path(spec.origin).resolve().parent


def generated_secret(path: Path) -> str:
    """The password kept in this file, readable by its owner only; made at the first call."""
    with suppress(FileNotFoundError):
        return path.read_text()
    secret = secrets.token_urlsafe(24)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
    return secret
