"""What `celery -A tests.faults.apps.worker worker` loads."""

from tests.faults.apps.application import build
from tests.lab.ready import announce

announce()
app = build()
