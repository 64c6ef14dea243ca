"""The HTTP API of the shop: `uvicorn loja.web:api`."""

from fastapi import FastAPI

from loja import index
from loja.accounts import routes as accounts
from loja.app import app
from loja.inventory import routes as inventory
from loja.mail import routes as mail
from loja.orders import routes as orders
from loja.payments import routes as payments
from loja.reports import routes as reports
from loja.sales import routes as sales
from loja.shipping import routes as shipping
from loja.videos import cdn
from loja.videos import routes as videos
from trilho.http import install, sagas_router

DESCRIPTION = """
A small shop whose work runs as **durable jobs**: a request that starts one answers `202` with a `task_id`,
and `GET /tasks/{task_id}` tells how it goes. Once a request was answered, its job survives the loss of any worker,
of the broker's data, and restarts of everything.

States: `PENDING` → `STARTED` → `PROCESSING` → `SUCCESS` or `FAILURE`; `RETRY` between attempts;
`REVOKED` when cancelled.

Errors are problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
"""

TAGS = [
    {"name": "sales", "description": "Sales files, and questions about them."},
    {"name": "reports", "description": "What the sales come to, by mail."},
    {"name": "users", "description": "Who gets a welcome."},
    {"name": "mail", "description": "The mail that this machine has caught."},
    {"name": "videos", "description": "Uploads, re-encoded and published under `/cdn`."},
    {"name": "orders", "description": "One order, four services, and three ways for them to work together."},
    {"name": "sagas", "description": "Runs of sagas: look at them, and settle those that are STUCK."},
    {"name": "tasks", "description": "The jobs that requests have started."},
    {"name": "timeline", "description": "All that one request, order, job, event or saga brought about."},
    {"name": "health", "description": "How the system is."},
    {"name": "start", "description": "What to try."},
]

api = FastAPI(
    title="Loja",
    summary="The reference shop of Trilho.",
    description=DESCRIPTION,
    openapi_tags=TAGS,
    redoc_url=None,
    swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    generate_unique_id_function=lambda route: route.name,
)
api.include_router(sales.router)
api.include_router(reports.router)
api.include_router(accounts.router)
api.include_router(mail.router)
api.include_router(videos.router)
api.include_router(cdn.router)
for service in (orders, payments, inventory, shipping):
    api.include_router(service.router)
api.include_router(index.router)
api.include_router(sagas_router(app))
install(api, app, body_limits={"/uploads": sales.upload_limit(), "/videos": videos.upload_limit()})
