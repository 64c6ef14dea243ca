"""The table of videos; `id` is also the id of the job that publishes the video, which knows how far it is."""

import psycopg
from sqlalchemy import BigInteger, Column, DateTime, Float, Integer, MetaData, Table, Text, Uuid, func

from loja import ddl

metadata = MetaData(schema="loja")

videos = Table(
    "videos",
    metadata,
    Column("id", Uuid, primary_key=True, comment="UUIDv7: ordered by time."),
    Column("title", Text, nullable=False),
    Column("filename", Text, nullable=False, comment="As the client called it; never used as a path."),
    Column("size", BigInteger, nullable=False, comment="Bytes of the upload."),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_at", DateTime(timezone=True)),
    Column("duration", Float, comment="Seconds of the published video."),
    Column("width", Integer),
    Column("height", Integer),
)


def create(connection: psycopg.Connection) -> None:
    """Create what is missing."""
    ddl.create(connection, metadata)
