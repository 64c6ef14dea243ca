"""pytest fixtures for the tests of your application: a real PostgreSQL, no broker, no worker.

In your conftest.py:

    pytest_plugins = ["trilho.testing"]

    @pytest.fixture
    def trilho_app():
        return app          # your Trilho application

and in a test:

    def test_welcome(trilho: Harness) -> None:
        sign_up("ana@example.com")
        trilho.assert_enqueued(send_email, to="ana@example.com")
        trilho.run_until_idle()

Each test has a database of its own. It is made on the server that TRILHO_TEST_DATABASE_URL names (its user must be
allowed to create databases), else on an embedded PostgreSQL (`pip install trilho[embedded]`).
"""

from collections.abc import Iterator

import pytest

from trilho.app import Trilho
from trilho.testing.harness import Harness, StillBusy
from trilho.testing.server import server_of

__all__ = ["Harness", "StillBusy", "trilho"]

_HOW = """trilho.testing needs a fixture `trilho_app` that returns your Trilho application, such as:

    @pytest.fixture
    def trilho_app():
        return app"""


@pytest.fixture
def trilho(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """The application of the fixture `trilho_app`, on a database of this test's own."""
    app = _application(request)
    with server_of(request.config).database(app) as url, Harness(app, url) as harness:
        yield harness


def _application(request: pytest.FixtureRequest) -> Trilho:
    try:
        app = request.getfixturevalue("trilho_app")
    except pytest.FixtureLookupError as error:
        if error.argname != "trilho_app":
            raise
        pytest.fail(_HOW, pytrace=False)
    if not isinstance(app, Trilho):
        pytest.fail(f"{_HOW}\n\nIt returned {app!r}.", pytrace=False)
    return app
