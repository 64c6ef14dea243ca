"""Settings of the shop, each read from `LOJA_<NAME>`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ShopSettings(BaseSettings):
    """What can be set about the shop."""

    model_config = SettingsConfigDict(env_prefix="LOJA_", frozen=True, extra="ignore")

    files: Path | None = Field(default=None, description="Folder of sales files; `files` in TRILHO_DATA unless set.")
    failure_rate: float = Field(
        default=0.2, ge=0, le=1, description="Share of the attempts of process_csv that fail on purpose."
    )

    def folder(self, data: Path) -> Path:
        """The folder of sales files, where `data` is TRILHO_DATA."""
        return self.files or data / "files"
