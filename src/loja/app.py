"""The Trilho application of the shop: `celery -A loja.app worker`."""

from loja.sales import tables
from trilho import Trilho

app = Trilho("loja", include=["loja.sales.tasks"])
app.on_migrate(tables.create)
