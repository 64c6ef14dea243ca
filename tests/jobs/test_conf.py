"""Applications as people have them: each way to construct and configure one, with `Celery` changed to `Trilho`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from celery import shared_task
from celery.beat import Scheduler
from celery.schedules import crontab

from tests.jobs.shop import Query
from trilho import Trilho
from trilho.testing import Harness

BROKER = "redis://broker.example:6379/0"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which modules are imported, and in which no stack runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "app",
    [
        lambda: Trilho("x", broker=BROKER),
        lambda: Trilho(main="x", broker=BROKER, include=["json"]),
        lambda: Trilho(broker=BROKER),
        lambda: Trilho("x", broker_url=BROKER),
        lambda: Trilho("x", changes={"broker_url": BROKER}),
        lambda: Trilho("x", config_source=SimpleNamespace(broker_url=BROKER)),
    ],
)
def test_constructor_takes_what_celerys_takes(app: "type[Trilho]", here: Path) -> None:
    assert app().conf.broker_url == BROKER


def test_configuration_module_is_read(here: Path) -> None:
    (here / "celeryconfig.py").write_text(
        f"broker_url = {BROKER!r}\n"
        "task_routes = {'media.*': {'queue': 'media'}}\n"
        "broker_transport_options = {'visibility_timeout': 3600}\n"
        "broker_heartbeat = 33\n"
        "worker_prefetch_multiplier = 4\n"
    )
    app = Trilho()
    app.config_from_object("celeryconfig")
    assert app.conf.broker_url == BROKER
    assert app.conf.broker_heartbeat == 33
    assert app.conf.broker_transport_options["visibility_timeout"] == 3600
    assert app.conf.broker_transport_options["socket_timeout"] == 5.0
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.amqp.router.route({}, "media.encode")["queue"].name == "media"


def test_settings_of_django_are_read_by_their_namespace(here: Path) -> None:
    settings = ModuleType("project_settings")
    settings.__dict__.update(
        SECRET_KEY="x",
        CELERY_BROKER_URL=BROKER,
        CELERY_TASK_DEFAULT_QUEUE="shop",
        CELERY_BEAT_SCHEDULE={"each": {"task": "t", "schedule": 1.0}},
        CELERY_BROKER_HEARTBEAT=44,
    )
    app = Trilho("project")
    app.config_from_object(settings, namespace="CELERY")
    assert (app.conf.broker_url, app.conf.task_default_queue, app.conf.broker_heartbeat) == (BROKER, "shop", 44)
    assert app.conf.beat_schedule["each"]["task"] == "t"


def test_old_names_of_settings_are_read(here: Path) -> None:
    app = Trilho("x")
    app.config_from_object(SimpleNamespace(BROKER_URL=BROKER, CELERY_DEFAULT_QUEUE="old", BROKER_HEARTBEAT=55))
    assert (app.conf.broker_url, app.conf.task_default_queue, app.conf.broker_heartbeat) == (BROKER, "old", 55)


@pytest.mark.parametrize("when", ["before", "after"])
def test_update_counts_before_and_after_the_configuration_was_read(when: str, here: Path) -> None:
    app = Trilho("x")
    if when == "after":
        assert app.conf.task_default_queue == "celery"
    app.conf.update(broker_url=BROKER, task_default_queue="own", timezone="America/Sao_Paulo")
    assert (app.conf.broker_url, app.conf.task_default_queue) == (BROKER, "own")
    assert str(app.timezone) == "America/Sao_Paulo"


def test_environment_decides_over_what_is_written_in_code(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("TRILHO_BROKER_URL", "redis://environment/0")
    for app in (Trilho("x", broker=BROKER), Trilho("x", broker_url=BROKER), Trilho("x")):
        app.config_from_object(SimpleNamespace(broker_url=BROKER))
        assert app.conf.broker_url == "redis://environment/0"


def test_constructor_decides_over_a_configuration_object(here: Path) -> None:
    app = Trilho("x", broker=BROKER)
    app.config_from_object(SimpleNamespace(broker_url="redis://module/0"))
    assert app.conf.broker_url == BROKER


def test_options_of_the_transport_follow_the_broker_of_the_configuration(here: Path) -> None:
    app = Trilho("x")
    app.config_from_object(SimpleNamespace(broker_url="amqp://broker.example"))
    assert app.connect_impatiently().transport_options == {"read_timeout": 1.0, "write_timeout": 1.0}


@pytest.mark.parametrize(
    ("setting", "value"),
    [("task_serializer", "pickle"), ("result_serializer", "yaml"), ("accept_content", ["json", "pickle"])],
)
def test_formats_other_than_json_are_not_used_and_that_is_said(setting: str, value: object, here: Path) -> None:
    app = Trilho("x", broker=BROKER, **{setting: value})
    with pytest.warns(UserWarning, match=rf"{setting}=.* is not used: Trilho (writes|reads) JSON"):
        assert app.conf.task_serializer == "json"
    assert (app.conf.result_serializer, app.conf.accept_content) == ("json", ["json"])


def test_result_backend_of_a_configuration_is_not_used_and_that_is_said(here: Path) -> None:
    app = Trilho("x", broker=BROKER)
    app.config_from_object(SimpleNamespace(result_backend="redis://localhost:6379/1"))
    with pytest.warns(UserWarning, match="result_backend=.* is not used: Trilho keeps results in PostgreSQL"):
        assert app.backend.as_uri() == "trilho://postgresql"


def test_eager_tasks_run_at_once_and_leave_no_row(app: Trilho, query: Query) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    app.conf.update(task_always_eager=True)
    assert add.delay(1, 2).get() == 3
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_shared_tasks_and_those_of_other_modules_run(here: Path, database: str) -> None:
    package = here / "parcels"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(
        "from celery import shared_task\n\n\n@shared_task\ndef weigh(grams):\n    return grams / 1000\n"
    )
    (here / "labels.py").write_text(
        "from celery import shared_task\n\n\n@shared_task(name='labels.text')\ndef text(n):\n    return f'parcel {n}'\n"
    )
    app = Trilho("x", database=database, include=["labels"])
    app.autodiscover_tasks(["parcels"])
    with Harness(app, database) as trilho:
        app.loader.import_default_modules()
        weighed, labelled = app.send_task("parcels.tasks.weigh", (1500,)), app.send_task("labels.text", (7,))
        trilho.run_until_idle()
        assert (weighed.get(timeout=5), labelled.get(timeout=5)) == (1.5, "parcel 7")
    app.close()


def test_shared_task_of_this_module_belongs_to_the_current_application(app: Trilho) -> None:
    @shared_task(name="tests.shared")
    def shared() -> None: ...

    assert "tests.shared" in app.tasks


def test_routes_choose_the_queue_of_the_row(app: Trilho, query: Query) -> None:
    @app.task(name="media.encode")
    def encode() -> None: ...

    app.conf.task_routes = {"media.*": {"queue": "media"}}
    encode.delay()
    assert query("SELECT queue FROM trilho.jobs") == [("media",)]


def test_plain_beat_enqueues_durable_jobs(database: str, valkey: str, query: Query) -> None:
    app = Trilho("x", database=database, broker=valkey)
    app.conf.beat_schedule = {
        "each": {"task": "shop.close", "schedule": 0.01, "args": (1,), "options": {"queue": "nightly", "expires": 60}},
        "later": {"task": "shop.open", "schedule": crontab(minute=0, hour=0, day_of_month=31, month_of_year=1)},
    }
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.setup_schedule()
    while not query("SELECT 1 FROM trilho.jobs"):
        scheduler.tick()
    scheduler.close()
    app.close()
    [(task, queue, args, expires)] = query("SELECT task, queue, args, expires_at > now() FROM trilho.jobs LIMIT 1")
    assert (task, queue, args, expires) == ("shop.close", "nightly", "[1]", True)
