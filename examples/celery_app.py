"""An application as people have it, with nothing changed but `Celery` -> `Trilho`.

    trilho up -A celery_app --api api:api

`backend=` is accepted with one warning: results are rows in PostgreSQL. `broker=` is used unless TRILHO_BROKER_URL says
otherwise, as it does under `trilho up`. So in another shell:

    eval "$(trilho env)"
    celery -A celery_app flower        # http://localhost:5555
"""

import gzip
import mailbox
import shutil
from email.message import EmailMessage
from pathlib import Path

from trilho import Trilho

app = Trilho(
    "celery_app",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
)

VIDEOS = Path("videos")
CDN = Path("cdn")


@app.task
def enviar_email(email, assunto, corpo):
    mensagem = EmailMessage()
    mensagem["To"], mensagem["Subject"] = email, assunto
    mensagem.set_content(corpo)
    mailbox.Maildir("correio").add(mensagem)  # a folder that mail programs can read
    return f"Email enviado para {email}"


@app.task(bind=True, max_retries=3)
def processar_video(self, video_id):
    try:
        comprimir(video_id)
    except Exception as exc:
        raise self.retry(exc=exc, countdown=60 * (2**self.request.retries))  # noqa: B904


def comprimir(video_id):
    CDN.mkdir(exist_ok=True)
    publicado = CDN / f"{video_id}.gz"
    parcial = publicado.with_suffix(".parcial")
    with open(VIDEOS / str(video_id), "rb") as original, gzip.open(parcial, "wb") as comprimido:
        shutil.copyfileobj(original, comprimido)
    parcial.rename(publicado)
