"""A small project of its own that mounts Trilho's routers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from tests.http.server import served
from tests.lab import database as databases
from trilho import Trilho
from trilho.http import install

Client: TypeAlias = httpx.Client
Mount: TypeAlias = Callable[[Trilho], Client]
Change: TypeAlias = Callable[..., None]


@pytest.fixture
def app(database: str, valkey: str) -> Iterator[Trilho]:
    """An application whose jobs nobody works on."""
    app = Trilho("shop", broker=valkey, database=database)
    yield app
    app.close()


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts an application's routers on an API of its own and calls that."""
    with ExitStack() as stack:

        def mounted(app: Trilho) -> Client:
            api = FastAPI()
            install(api, app, max_body=1000, body_limits={"/large": 5000})

            @api.post("/echo")
            @api.post("/large")
            def echo(body: dict[str, str]) -> int:
                return len(body)

            @api.post("/deaf")
            def deaf() -> str:
                return "did it"

            @api.post("/pack")
            def pack() -> str:
                return str(app.send_task("shop.pack").id)

            @api.get("/broken")
            def broken() -> str:
                raise KeyError("secret")

            return stack.enter_context(served(api))

        yield mounted


@pytest.fixture
def client(app: Trilho, mount: Mount) -> Client:
    """Calls the API of `app`."""
    return mount(app)


@pytest.fixture
def change(database: str) -> Change:
    """Writes columns of a job as a worker would."""

    def write(job_id: str, state: str, **columns: object) -> None:
        columns["state"] = state
        if state in {"SUCCESS", "FAILURE", "REVOKED"}:
            columns["finished_at"] = datetime.now(UTC)
        elif state in {"STARTED", "PROCESSING"}:
            columns |= {"claim_token": uuid4(), "worker": uuid4(), "started_at": datetime.now(UTC)}
        names = ", ".join(f"{name} = %({name})s" for name in columns)
        with databases.connect(database) as connection:
            connection.execute(f"UPDATE trilho.jobs SET {names} WHERE id = %(id)s".encode(), columns | {"id": job_id})

    return write
