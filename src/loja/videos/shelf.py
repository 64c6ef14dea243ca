"""Where the files of videos lie."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import UUID

from loja.settings import ShopSettings


@dataclass(frozen=True, slots=True)
class Shelf:
    """What users sent lies in `uploads`, which nobody may read; what everybody may see lies in `published`."""

    uploads: Path
    published: Path

    @classmethod
    def of(cls, settings: ShopSettings, data: Path) -> Self:
        """The folders of the shop, where `data` is TRILHO_DATA."""
        return cls(settings.video_folder(data), settings.cdn_folder(data) / "videos")

    @property
    def unfinished(self) -> Path:
        """Where attempts work: on the file system of what they publish, for a rename is atomic only there."""
        return self.published / ".unfinished"

    def upload(self, video: UUID) -> Path:
        """What was uploaded; without an extension, so that ffmpeg looks at the content alone."""
        return self.uploads / str(video)

    def video(self, video: UUID) -> Path:
        """The published video."""
        return self.published / f"{video}.mp4"

    def thumbnail(self, video: UUID) -> Path:
        """Its published picture."""
        return self.published / f"{video}.jpg"

    @contextmanager
    def workspace(self, video: UUID) -> Iterator[Path]:
        """An empty folder for one attempt, which is gone afterwards.

        Folders of former attempts go first: one of them that is still alive somewhere loses its file with it, and
        cannot publish any more.
        """
        self.unfinished.mkdir(parents=True, exist_ok=True)
        for former in self.unfinished.glob(f"{video}-*"):
            shutil.rmtree(former, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{video}-", dir=self.unfinished))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def put(path: Path, target: Path) -> None:
    """Move a complete file to the name that others read; it survives a power cut once this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    path.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
