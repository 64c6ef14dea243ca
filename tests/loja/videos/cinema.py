"""The shop, as those see it who upload videos and watch them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.lab.poll import eventually
from tests.lab.worker import Worker, WorkerOptions
from tests.loja.shop import Shop, api

Json = dict[str, Any]


@dataclass(frozen=True)
class Cinema:
    """One shop."""

    shop: Shop

    @property
    def client(self) -> httpx.Client:
        return self.shop.client

    def worker(self, name: str = "worker", queues: str = "celery,video", **environment: str) -> Worker:
        """A worker process, not started yet."""
        variables = {**self.shop.environment, **environment}
        return Worker(WorkerOptions(name, "tests.loja.worker", variables, queues=queues), self.shop.folder)

    @contextmanager
    def with_settings(self, **environment: str) -> Iterator["Cinema"]:
        """The same shop with another API: a job takes its time limits from who enqueues it."""
        variables = {**self.shop.environment, **environment}
        with api(self.shop.folder, variables) as client:
            yield Cinema(Shop(self.shop.folder, variables, client))

    def post(self, path: Path, name: str | None = None, **fields: str) -> httpx.Response:
        """POST /videos."""
        with path.open("rb") as stream:
            return self.client.post("/videos", files={"file": (name or path.name, stream)}, data=fields)

    def upload(self, path: Path, **fields: str) -> str:
        """POST /videos; the id."""
        answer = self.post(path, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def show(self, video: str) -> Json:
        """GET /videos/{id}."""
        answer = self.client.get(f"/videos/{video}")
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown

    def ended(self, video: str, *, timeout: float = 40.0) -> Json:
        """The video once it is not `processing` any more."""
        return eventually(lambda: self.show(video), lambda shown: shown["status"] != "processing", timeout=timeout)

    def encoding(self, video: str) -> Json:
        """The video once ffmpeg has encoded some of it."""

        def begun(shown: Json) -> bool:
            assert shown["status"] == "processing", shown
            return bool(shown["progress"] and shown["progress"]["current"])

        return eventually(lambda: self.show(video), begun, every=0.02, timeout=30)

    def files(self) -> set[str]:
        """Every file of every video, by its path below the shop's folder."""
        roots = (self.shop.folder / "videos", self.shop.folder / "cdn")
        paths = (path for root in roots for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.shop.folder)) for path in paths}

    def files_of(self, video: str) -> set[str]:
        """Those of one video."""
        return {path for path in self.files() if video in path}

    def encoders(self) -> list[psutil.Process]:
        """The ffmpeg processes of this shop."""
        return [process for process in psutil.process_iter() if _works_for(process, str(self.shop.folder))]


def published(video: str) -> set[str]:
    """The files of a video that is published."""
    return {f"cdn/videos/{video}.mp4", f"cdn/videos/{video}.jpg"}


def _works_for(process: psutil.Process, folder: str) -> bool:
    try:
        words = process.cmdline()
        return "-nostdin" in words and any(folder in word for word in words) and process.status() != "zombie"
    except psutil.Error:
        return False
