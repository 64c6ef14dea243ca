"""An API that is asked to stop while clients follow jobs."""

import signal
import time

import httpx
import psutil
import pytest

from tests.http.sse import following
from tests.loja.shop import Shop, api


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_api_that_is_asked_to_stop_closes_its_streams_and_clients_go_on_elsewhere(
    idle_shop: Shop, number: signal.Signals
) -> None:
    task_id = idle_shop.start("/aggregate", region="sul", month="1999-01")
    with api(idle_shop.folder, dict(idle_shop.environment)) as client, following(client, task_id) as stream:
        seen = stream.next().fields["id"]
        server = server_of(client)
        begin = time.monotonic()
        server.send_signal(number)
        assert stream.rest() == []
        server.wait(10)
        assert time.monotonic() - begin < 3
    with following(idle_shop.client, task_id, seen) as stream:
        assert idle_shop.client.delete(f"/tasks/{task_id}").status_code == 200
        assert [event.document["status"] for event in stream.rest()] == ["REVOKED"]


def server_of(client: httpx.Client) -> psutil.Process:
    """The API process that this client talks to."""

    def listens(process: psutil.Process) -> bool:
        return any(c.laddr.port == client.base_url.port for c in process.net_connections() if c.status == "LISTEN")

    return next(process for process in psutil.Process().children() if listens(process))
