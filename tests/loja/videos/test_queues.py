"""Who takes videos: every worker of the shop, unless somebody wants one for them alone."""

from dataclasses import dataclass

from tests.lab.poll import eventually
from tests.lab.worker import Worker, WorkerOptions
from tests.loja.videos.cinema import Cinema
from tests.loja.videos.studio import Studio


@dataclass(frozen=True)
class Plain(WorkerOptions):
    """`celery -A loja.app worker`, as people start it."""

    def command(self) -> list[str]:
        words = super().command()
        at = words.index("-Q")
        return words[:at] + words[at + 2 :]


def test_a_plain_worker_takes_videos_and_everything_else(cinema: Cinema, studio: Studio) -> None:
    with Worker(Plain("plain", "tests.loja.worker", cinema.shop.environment), cinema.shop.folder):
        video = cinema.upload(studio.clip())
        cinema.shop.result(cinema.shop.start("/aggregate", region="sul", month="2025-01"))
        assert cinema.ended(video)["status"] == "published"


def test_a_worker_for_videos_takes_nothing_else(cinema: Cinema, studio: Studio) -> None:
    with cinema.worker("cutter", queues="video"):
        asked = cinema.shop.start("/aggregate", region="sul", month="2025-01")
        assert cinema.ended(cinema.upload(studio.clip()))["status"] == "published"
        assert cinema.shop.task(asked)["status"] == "PENDING"
    with cinema.worker("clerk", queues="celery"):
        video = cinema.upload(studio.clip())
        assert cinema.shop.result(asked)["count"] == 0
        assert cinema.show(video)["status"] == "processing"
        stats = eventually(lambda: cinema.client.get("/queue/stats").json(), lambda stats: len(stats["queues"]) == 2)
        assert {queue["name"] for queue in stats["queues"]} == {"celery", "video"}
