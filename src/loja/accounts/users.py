"""The stored users."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from loja.accounts.tables import users


class EmailTaken(Exception):
    """The address belongs to another user, whatever the case of its letters."""


@dataclass(frozen=True, slots=True)
class User:
    """One user."""

    id: UUID
    email: str
    name: str | None


def add(session: Session, email: str, name: str | None) -> User:
    """Store a user; raises EmailTaken. Waits for another transaction that is storing the same address."""
    statement = (
        insert(users)
        .values(email=email, name=name)
        .on_conflict_do_nothing(index_elements=[func.lower(users.c.email)])
        .returning(users.c.id)
    )
    found = session.execute(statement).scalar_one_or_none()
    if found is None:
        raise EmailTaken(f"{email} belongs to another user")
    return User(found, email, name)


def get(session: Session, user_id: UUID) -> User | None:
    """The user of this id, if there is one."""
    row = session.execute(select(users.c.id, users.c.email, users.c.name).where(users.c.id == user_id)).first()
    return None if row is None else User(*row)
