"""What `celery -A tests.loja.worker worker` loads: the shop, which says when it is ready."""

from loja.app import app
from tests.lab.ready import announce

announce()

__all__ = ["app"]
