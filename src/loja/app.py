"""The Trilho application of the shop: `celery -A loja.app worker`."""

from kombu import Exchange, Queue

from loja.accounts import tables as accounts
from loja.contracts import topics
from loja.inventory import tables as inventory
from loja.orders import tables as orders
from loja.payments import tables as payments
from loja.sales import tables
from loja.shipping import tables as shipping
from loja.videos import tables as videos
from trilho import Trilho

VIDEO_QUEUE = "video"

JOBS = ["loja.sales.tasks", "loja.reports.tasks", "loja.accounts.tasks", "loja.videos.tasks"]
SERVICES = [f"loja.{service}.handlers" for service in ("orders", "payments", "inventory", "shipping")]
SAGAS = ["loja.orders.saga"]

app = Trilho("loja", include=[*JOBS, *SERVICES, *SAGAS])
# Declared, so that a worker without -Q takes both; `-Q video` on a machine of its own keeps encoding off the others.
app.conf.task_queues = [Queue(name, Exchange(name), name) for name in ("celery", VIDEO_QUEUE)]
app.conf.task_routes = {"loja.videos.tasks.process_video": {"queue": VIDEO_QUEUE}}
app.conf.worker_send_task_events = True  # Flower sees jobs from the first on, not from when it has asked for events
app.on_migrate(tables.create)
app.on_migrate(accounts.create)
app.on_migrate(videos.create)
for service in (orders, payments, inventory, shipping):
    app.on_migrate(service.create)
topics.declare(app)
