"""Payloads for eyes: shortened, and without what looks like a secret. Pure."""

import json
import re
from typing import Any

from trilho.jobs.display import LEFT_OUT, displayable

SECRET = re.compile(
    r"pass(word|wd|phrase)?|secret|token|api_?key|authori[sz]ation|credential|cookie|(?<!dis)card|cvv|cvc|iban|(^|[_-])pin$|ssn|cpf"
    r"|private_?key|signature",
    re.IGNORECASE,
)
MASK = "•••"
LONGEST = 400
_URL = re.compile(r"(\w+://)[^/\s:@\"']*:[^/\s@\"']*@")


def shown(text: str) -> str:
    """JSON text with the values of secret names masked, at most 400 characters; other text is shortened only."""
    try:
        value = displayable(json.loads(text))
    except ValueError:
        return shortened(text)
    except RecursionError:  # too deep to be masked
        return LEFT_OUT
    return shortened(json.dumps(masked(value), ensure_ascii=False))


def error_of(text: str | None) -> str | None:
    """An error as it is shown, if there is one."""
    return None if text is None else shortened(text)


def value_of(text: str | None) -> str | None:
    """JSON text as it is shown, if there is any: null is nothing to see."""
    return None if text in {None, "null"} else shown(text or "")


def masked(value: Any) -> Any:
    """The JSON value without secrets."""
    if isinstance(value, dict):
        return {name: MASK if part and SECRET.search(name) else masked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [masked(part) for part in value]
    return without_passwords(value) if isinstance(value, str) else value


def without_passwords(text: str) -> str:
    """The text without the user and password of a URL."""
    return _URL.sub(rf"\1{MASK}@", text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text, with a sign where something is missing."""
    text = without_passwords(text)
    return text if len(text) <= longest else text[:longest] + "…"
