"""What `celery -A tests.faults.apps.saga_worker worker` loads."""

from tests.faults.apps.sagas import app
from tests.lab.ready import announce

announce()
__all__ = ["app"]
