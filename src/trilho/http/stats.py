"""Routes that tell how the application is: workers, queues, health."""

from fastapi import APIRouter

from trilho.app import Trilho
from trilho.http.problems import documented
from trilho.http.schemas import Health, QueueStatsOut


def stats_router(app: Trilho) -> APIRouter:
    """`/queue/stats` and `/healthz`."""
    router = APIRouter(tags=["health"])

    @router.get("/queue/stats", summary="Workers, queues and failures", responses=documented(503))
    def queue_stats() -> QueueStatsOut:
        """Who works, what waits and for how long, and how much gets done. Cheap to ask, however long the queue."""
        return QueueStatsOut.model_validate(app.jobs.stats())

    @router.get("/healthz", summary="Is it up?", responses=documented(503))
    def healthz() -> Health:
        """Answers 200 when the database does. Needs no API key."""
        with app.transaction() as tx:
            tx.connection.execute("SELECT 1")
        return Health()

    return router
