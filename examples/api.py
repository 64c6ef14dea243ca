"""The web side of `celery_app.py`, as people have it: save, then `.delay()`.

The save and the job are two commits here: what a crash between them loses, `one_commit.py` keeps.
"""

import os
from collections.abc import Iterator
from typing import Annotated

from celery_app import app, enviar_email, processar_video
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from trilho.http import install

engine = create_engine(os.environ["TRILHO_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
api = FastAPI()
install(api, app)  # GET /tasks/{task_id}, /queue/stats, ...


class Base(DeclarativeBase):
    pass


class Usuario(Base):
    __tablename__ = "usuarios"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class Video(Base):
    __tablename__ = "videos"
    id: Mapped[int] = mapped_column(primary_key=True)
    titulo: Mapped[str]


Base.metadata.create_all(engine)


class NovoUsuario(BaseModel):
    email: str


class NovoVideo(BaseModel):
    titulo: str


def get_db() -> Iterator[Session]:
    with Session(engine) as db:
        yield db


Db = Annotated[Session, Depends(get_db)]


@api.post("/usuarios", status_code=201)
def criar_usuario(novo: NovoUsuario, db: Db):
    user = Usuario(email=novo.email)
    db.add(user)
    db.commit()
    tarefa = enviar_email.delay(user.email, "Welcome!", "...")
    return {"id": user.id, "task_id": tarefa.id}


@api.post("/videos", status_code=202)
def criar_video(novo: NovoVideo, db: Db):
    video = Video(titulo=novo.titulo)
    db.add(video)
    db.commit()
    tarefa = processar_video.delay(video.id)
    return {"id": video.id, "status": "processing", "task_id": tarefa.id}
