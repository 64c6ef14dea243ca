"""What `celery -A tests.faults.apps.plain worker` loads: plain Celery, as it was before Trilho came."""

import os

from celery import Celery

from tests.faults.apps import bodies
from tests.lab.ready import announce

announce()
app = Celery("plain", broker=os.environ.get("TRILHO_BROKER_URL"))
app.conf.broker_connection_retry_on_startup = True
app.task(name="lab.alone")(bodies.alone)
app.task(name="lab.effect", bind=True)(bodies.effect)
