"""Videos whose worker is killed, whose time is over, and whose ffmpeg breaks."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.lab.poll import eventually
from tests.loja.videos.cinema import Cinema, published
from tests.loja.videos.studio import FFMPEG, Studio


def test_a_video_survives_the_death_of_its_worker_and_of_a_pool_process(cinema: Cinema, studio: Studio) -> None:
    video = cinema.upload(studio.long())
    with cinema.worker("doomed") as doomed:
        cinema.encoding(video)
        [orphan] = cinema.encoders()
        doomed.kill()
        eventually(lambda: orphan not in cinema.encoders(), timeout=1.5)
    with cinema.worker("heir") as heir:
        eventually(lambda: cinema.shop.task(video)["attempt"] == 2)
        cinema.encoding(video)
        [orphan] = cinema.encoders()
        heir.kill_child(orphan.ppid())
        eventually(lambda: orphan not in cinema.encoders(), timeout=1.5)
        assert cinema.ended(video, timeout=60)["status"] == "published"
    task = cinema.shop.task(video)
    assert (task["status"], task["attempt"]) == ("SUCCESS", 3)
    assert cinema.files_of(video) == published(video)
    assert cinema.encoders() == []


def test_a_time_limit_ends_ffmpeg_and_what_was_uploaded_can_be_tried_again(cinema: Cinema, studio: Studio) -> None:
    with cinema.with_settings(LOJA_VIDEO_TIME_LIMIT="1") as hasty, hasty.worker("hasty"):
        video = hasty.upload(studio.long())
        shown = hasty.ended(video)
        assert hasty.encoders() == []
    assert shown["status"] == "failed"
    assert "longer than LOJA_VIDEO_TIME_LIMIT allows" in shown["error"]
    assert cinema.shop.task(video)["attempt"] == 1
    assert cinema.files_of(video) == {f"videos/{video}"}


def test_an_ffmpeg_that_breaks_is_tried_three_times_more_with_growing_pauses(
    cinema: Cinema, studio: Studio, tmp_path: Path
) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text(f'#!/bin/sh\ntest -e {tmp_path}/mended && exec {FFMPEG} "$@"\nkill -9 $$\n')
    broken.chmod(0o755)
    video = cinema.upload(studio.clip())
    with cinema.worker("unlucky", LOJA_FFMPEG=str(broken)):
        pauses = [pause_after(cinema, video, attempt) for attempt in (1, 2, 3)]
        failed = cinema.ended(video)
        assert pauses == [pytest.approx(60 * 2**n, abs=5) for n in range(3)]
        assert (failed["status"], cinema.shop.task(video)["attempt"]) == ("failed", 4)
        assert "ffmpeg was ended by signal 9" in failed["error"]
        assert cinema.files_of(video) == {f"videos/{video}"}
        (tmp_path / "mended").touch()
        assert cinema.client.post(f"/tasks/{video}/retry").status_code == 202
        assert cinema.ended(video)["status"] == "published"


def pause_after(cinema: Cinema, video: str, attempt: int) -> float:
    """Seconds until the attempt after this one, which then begins at once."""
    task = eventually(
        lambda: cinema.shop.task(video), lambda task: (task["status"], task["attempt"]) == ("RETRY", attempt)
    )
    shown = cinema.show(video)
    assert (shown["status"], "signal 9" in shown["error"]) == ("processing", True)
    cinema.shop.query("UPDATE trilho.jobs SET run_at = clock_timestamp() WHERE id = %s AND state = 'RETRY'", video)
    return (datetime.fromisoformat(task["next_run_at"]) - datetime.fromisoformat(task["started_at"])).total_seconds()
