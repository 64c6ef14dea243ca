"""The page at `/`: what there is to try."""

from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel

router = APIRouter(tags=["start"])

_STEPS = (
    ("Process a sales file", 'curl -s -X POST "{base}process-csv?filename=vendas.csv&num_rows=50000"'),
    ("Upload a sales file of your own", 'curl -s -F "file=@vendas.csv" "{base}uploads"'),
    ("Ask how it goes (with the task_id of the answer)", 'curl -s "{base}tasks/TASK_ID"'),
    ("Follow it", 'curl -sN "{base}tasks/TASK_ID/stream"'),
    ("Ask the processed files", 'curl -s -X POST "{base}aggregate?region=sudeste&month=2025-01"'),
    (
        "Have a report sent by mail, and read it at /mail",
        'curl -s -X POST "{base}send-report?email=eu@empresa.com&report_type=vendas"',
    ),
    (
        "Store a user, who gets a mail in the same commit",
        (
            'curl -s -X POST "{base}users" -H "Content-Type: application/json" '
            """-d '{{"email": "ana@empresa.com", "name": "Ana"}}'"""
        ),
    ),
    (
        "Publish a video (`python -m loja.videos.sample out.mp4` makes one)",
        'curl -s -F "file=@out.mp4" "{base}videos"',
    ),
    (
        "Place an order (card 4000000000000002, SOLD-OUT or country AQ make it fail; ?mode=orchestration is a saga)",
        (
            'curl -s -X POST "{base}orders" -H "Content-Type: application/json" '
            """-d '{{"user_id": "ana", "items": [{{"sku": "COFFEE", "quantity": 2}}], "card": "4111111111111111", """
            """"address": {{"street": "Rua Augusta 100", "city": "Sao Paulo", "country": "BR"}}}}'"""
        ),
    ),
    ("See workers and queues", 'curl -s "{base}queue/stats"'),
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Loja</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ background: #f2f2f2; color: #111; padding: .6rem .8rem; border-radius: 6px; overflow-x: auto; }}
</style>
<h1>Loja</h1>
<p>A small shop whose work runs as durable jobs on Trilho. Every request below has a form to try it in the
<a href="docs">API documentation</a>.</p>
{steps}
</html>
"""


class Step(BaseModel):
    """One thing to try."""

    title: str
    command: str


class Index(BaseModel):
    """Where to begin."""

    name: str
    documentation: str
    try_this: list[Step]


@router.get("/", summary="What to try", response_model=Index)
def index(request: Request) -> Response:
    """A page for browsers, JSON for everyone else."""
    base = str(request.base_url)
    steps = [Step(title=title, command=command.format(base=base)) for title, command in _STEPS]
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_page(steps))
    return JSONResponse(Index(name="loja", documentation=f"{base}docs", try_this=steps).model_dump())


def _page(steps: list[Step]) -> str:
    shown = "\n".join(f"<h2>{escape(step.title)}</h2><pre>{escape(step.command)}</pre>" for step in steps)
    return _PAGE.format(steps=shown)
