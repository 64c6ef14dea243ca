"""The videos of the shop: written by uploads and jobs, read by everybody."""

from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from loja.videos.film import Film
from loja.videos.tables import videos
from loja.videos.video import Video


def add(session: Session, video: UUID, title: str, filename: str, size: int) -> Video:
    """Store a video that is to be published."""
    values = {"id": video, "title": title, "filename": filename, "size": size}
    return Video(**session.execute(insert(videos).values(values).returning(*videos.c)).one()._mapping)


def publish(session: Session, video: UUID, film: Film) -> bool:
    """Note that its files are in place; False if there is no such video."""
    values = {"duration": film.seconds, "width": film.width, "height": film.height}
    changed = update(videos).where(videos.c.id == video).values(published_at=func.now(), **values)
    return session.execute(changed.returning(videos.c.id)).first() is not None


def get(session: Session, video: UUID) -> Video | None:
    """One video."""
    row = session.execute(select(videos).where(videos.c.id == video)).first()
    return None if row is None else Video(**row._mapping)


def page(session: Session, limit: int, before: UUID | None) -> list[Video]:
    """The newest videos, or the newest of those that are older than `before`."""
    wanted = select(videos).order_by(videos.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(videos.c.id < before)
    return [Video(**row._mapping) for row in session.execute(wanted)]
