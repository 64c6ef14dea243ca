"""`celery_app.py` and its two web sides do what they say, on a stack that `trilho up` started."""

import gzip
import json
import mailbox
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.shell import Shell, running
from tests.lab.poll import eventually
from trilho.embedded.ports import free_port

pytestmark = pytest.mark.timeout(120)


def wait(shell: Shell, task_id: str) -> Any:
    """The result of a job."""
    return json.loads(shell.run(f"trilho jobs wait {task_id} --timeout 30 --json"))["result"]


def flower_shows_a_mail(shell: Shell) -> None:
    """`celery -A celery_app flower`, as it is pasted but for its port: it shows what ran since it started."""
    port = free_port()
    command = f'eval "$(trilho env)"; exec celery -A celery_app flower --port={port} --address=127.0.0.1'
    environment = shell.environment() | {"FLOWER_UNAUTHENTICATED_API": "1"}
    process = subprocess.Popen(["bash", "-c", command], cwd=shell.folder, env=environment, stderr=subprocess.DEVNULL)

    def mails() -> list[dict[str, Any]]:
        httpx.post(f"{shell.url}/usuarios", json={"email": "rui@example.com"})
        tasks = httpx.get(f"http://127.0.0.1:{port}/api/tasks", params={"state": "SUCCESS"}).json()
        return [task for task in tasks.values() if task["name"] == "celery_app.enviar_email"]

    try:
        [mail, *_] = eventually(mails, timeout=40, every=0.5, ignoring=(httpx.TransportError,))
        assert "Email enviado para rui@example.com" in mail["result"]
        assert "rui@example.com" in mail["args"]
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("api", ["api", "one_commit"])
def test_a_user_is_saved_and_the_mail_written_and_a_video_is_compressed(folder: Path, api: str) -> None:
    (folder / "videos").mkdir()
    (folder / "videos" / "1").write_bytes(b"frame" * 1000)
    with running(folder, "-A", "celery_app", "--api", f"{api}:api", "--workers", "1") as shell:
        user = httpx.post(f"{shell.url}/usuarios", json={"email": "ana@example.com"})
        assert user.status_code == 201
        assert wait(shell, user.json()["task_id"]) == "Email enviado para ana@example.com"
        [mail] = mailbox.Maildir(folder / "correio")
        assert mail["Subject"] == "Welcome!"

        video = httpx.post(f"{shell.url}/videos", json={"titulo": "a film"})
        assert video.json()["status"] == "processing"
        wait(shell, video.json()["task_id"])
        assert gzip.decompress((folder / "cdn" / "1.gz").read_bytes()) == b"frame" * 1000

        lost = httpx.post(f"{shell.url}/videos", json={"titulo": "nobody uploaded it"}).json()
        shell.run(f"until trilho jobs show {lost['task_id']} | grep -q '^state *RETRY'; do sleep 0.2; done")
        job = httpx.get(f"{shell.url}/tasks/{lost['task_id']}").json()
        assert (job["attempt"], job["max_attempts"]) == (1, 4)
        assert 50 < (datetime.fromisoformat(job["next_run_at"]) - datetime.now(timezone.utc)).total_seconds() <= 60
        assert "No such file" in job["error"]
        if api == "api":
            flower_shows_a_mail(shell)


def test_a_given_backend_is_accepted_with_one_warning(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import celery_app"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Warning") == 1
    assert "backend= is not used" in done.stderr
