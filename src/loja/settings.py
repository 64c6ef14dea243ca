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
    max_upload: int = Field(default=200_000_000, gt=0, description="Bytes that an uploaded sales file may have.")
    mail_from: str = Field(default="loja@example.com", description="Address that the shop's mail comes from.")
    mail_name: str = Field(default="Loja", description="Name beside it.")
    smtp_timeout: float = Field(default=10, gt=0, description="Seconds that a mail server may say nothing.")

    videos: Path | None = Field(default=None, description="Folder of uploaded videos; `videos` in TRILHO_DATA.")
    cdn: Path | None = Field(default=None, description="Folder that /cdn serves; `cdn` in TRILHO_DATA unless set.")
    ffmpeg: str | None = Field(default=None, description="The ffmpeg to run; imageio-ffmpeg's or PATH's unless set.")
    max_video: int = Field(default=500_000_000, gt=0, description="Bytes that an uploaded video may have.")
    max_pixels: int = Field(default=10_000_000, gt=0, description="Pixels that a picture of it may have.")
    max_duration: float = Field(default=3600, gt=0, description="Seconds that it may last.")
    video_time_limit: float = Field(default=1800, gt=0, description="Seconds that encoding it may take.")

    def folder(self, data: Path) -> Path:
        """The folder of sales files, where `data` is TRILHO_DATA."""
        return self.files or data / "files"

    def video_folder(self, data: Path) -> Path:
        """The folder of uploaded videos, where `data` is TRILHO_DATA."""
        return self.videos or data / "videos"

    def cdn_folder(self, data: Path) -> Path:
        """The folder that /cdn serves, where `data` is TRILHO_DATA."""
        return self.cdn or data / "cdn"
