"""The job that welcomes a user."""

from html import escape
from typing import Any
from uuid import UUID

from loja.accounts import users
from loja.accounts.users import User
from loja.app import app
from loja.mail.message import Letter, Person
from loja.mail.sender import mail_task, send


@mail_task
def welcome(user_id: str) -> dict[str, Any]:
    """Send the welcome mail; a user who has gone meanwhile gets none. Raises MailError."""
    with app.transaction() as tx:
        user = users.get(tx.session, UUID(user_id))
    if user is None:
        return {"user_id": user_id, "sent": False}
    return {"user_id": user_id, "sent": True, **send(letter_to(user), welcome.request.id)}


def letter_to(user: User) -> Letter:
    """The words."""
    greeting = f"Welcome, {user.name}!" if user.name else "Welcome!"
    line = "Your account is ready."
    html = f"<!doctype html><html lang='en'><body><h1>{escape(greeting)}</h1><p>{line}</p></body></html>"
    return Letter(Person(user.email, user.name or ""), greeting, f"{greeting}\n\n{line}\n", html)
