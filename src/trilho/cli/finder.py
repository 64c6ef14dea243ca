"""Finding the user's app, as `celery -A` does."""

import sys
import traceback
from pathlib import Path

from celery.app.utils import find_app

from trilho import Trilho
from trilho.errors import ConfigurationError
from trilho.settings import running_stack


def load_app(name: str | None, data: Path) -> Trilho:
    """The app called `module[:attribute]`; raises ConfigurationError that says what could not be loaded."""
    name = app_name(name, data)
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        app = find_app(name)
    except Exception as error:
        raise ConfigurationError(f"cannot load the app {name!r}: {_reason(_cause(error, name))}") from error
    if not isinstance(app, Trilho):
        raise ConfigurationError(f"{name!r} is a {type(app).__name__}, not a Trilho app: use module:attribute")
    return app


def app_name(name: str | None, data: Path) -> str:
    """The name as given, or that of the running stack; raises ConfigurationError if there is neither."""
    found = name or running_stack(data).get("app")
    if not found:
        raise ConfigurationError(f"no app: pass -A module[:attribute] or set TRILHO_APP (no stack runs in {data})")
    return str(found)


def _cause(error: Exception, name: str) -> BaseException:
    """Celery takes `module:attribute` for a module when an attribute is missing: what it met before tells more."""
    is_follow_up = isinstance(error, ModuleNotFoundError) and error.name == name and ":" in name
    return error.__context__ or error if is_follow_up else error


def _reason(error: BaseException) -> str:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"


def _is_own(filename: str) -> bool:
    return filename.startswith(str(Path.cwd())) and "site-packages" not in filename
