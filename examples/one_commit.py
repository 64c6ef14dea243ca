"""The routes of `api.py`, with the row and its job in one commit: both or neither.

trilho up -A celery_app --api one_commit:api
"""

from api import Db, NovoUsuario, NovoVideo, Usuario, Video
from celery_app import app, enviar_email, processar_video
from fastapi import FastAPI

from trilho.http import install

api = FastAPI()
install(api, app)


@api.post("/usuarios", status_code=201)
def criar_usuario(novo: NovoUsuario):
    with app.transaction() as tx:  # a session of Trilho's, committed at the end of the block
        user = Usuario(email=novo.email)
        tx.session.add(user)
        tx.session.flush()
        tarefa = enviar_email.delay(user.email, "Welcome!", "...")
        return {"id": user.id, "task_id": tarefa.id}


@api.post("/videos", status_code=202)
def criar_video(novo: NovoVideo, db: Db):
    video = Video(titulo=novo.titulo)
    db.add(video)
    db.flush()
    tarefa = app.join(db).delay(processar_video, video.id)  # with the session that the project has already
    db.commit()
    return {"id": video.id, "status": "processing", "task_id": tarefa.id}
