"""compose.yaml as Docker Compose understands it, and its commands run on this machine."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):-(?P<default>[^}]*)\}")


def interpolated(value: Any, variables: dict[str, str]) -> Any:
    """`${NAME:-default}` replaced in every string, as Compose does it: after the YAML is parsed."""
    if isinstance(value, dict):
        return {key: interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: variables.get(match["name"]) or match["default"], value)
    return value


def load(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The file with anchors, merges and variables resolved."""
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    resolved: dict[str, Any] = interpolated(document, variables or {})
    return resolved


@dataclass(frozen=True)
class Local:
    """Where the services of the file are on this machine."""

    database_url: str
    broker_url: str
    kafka: str
    data: Path
    port: int
    mail_port: int
    flower_port: int

    def command(self, service: dict[str, Any]) -> list[str]:
        """The command of a service; only its port is another one."""
        flower = f"--port={self.flower_port}"
        ports = {"8000": str(self.port), "1025": str(self.mail_port), "--port=5555": flower}
        command: list[str] = service["command"]
        return [ports.get(part, part) for part in command]

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        """The environment of a service: the image's and its own, with the servers where they are here."""
        image = {"TRILHO_APP": "loja.app", "TRILHO_DATA": str(self.data), "PYTHONUNBUFFERED": "1"}
        own = {name: str(value) for name, value in service["environment"].items()}
        here = {"TRILHO_DATABASE_URL": self.database_url, "TRILHO_BROKER_URL": self.broker_url}
        here |= {"TRILHO_KAFKA_BOOTSTRAP": self.kafka, "TRILHO_SMTP_URL": f"smtp://127.0.0.1:{self.mail_port}"}
        assert here.keys() <= own.keys()
        return {"PATH": os.environ["PATH"], "HOME": str(self.data)} | image | own | here
