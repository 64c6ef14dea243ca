"""Routes of the users."""

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response

from loja.accounts import users
from loja.accounts.schemas import NewUser, UserOut
from loja.accounts.tasks import welcome
from loja.accounts.users import EmailTaken
from loja.answers import problem
from loja.app import app
from trilho.http import documented

router = APIRouter(prefix="/users", tags=["users"])


_TAKEN = problem(409, "The e-mail address belongs to another user.")
_NOBODY = problem(404, "No user has this id.")


@router.post("", status_code=201, summary="Store a user", responses=_TAKEN | documented(400, 413, 422, 503))
def post_user(new: NewUser, request: Request, response: Response) -> UserOut:
    """The welcome mail goes out if and only if the user is stored: user and job are one commit.

    An address counts as taken whatever the case of its letters.
    """
    try:
        with app.transaction() as tx:
            user = users.add(tx.session, new.email, new.name or None)
            welcome.delay(str(user.id))
    except EmailTaken as error:
        raise HTTPException(409, str(error)) from None
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/users/{user.id}"
    return UserOut.of(user)


@router.get("/{user_id}", summary="Show a user", responses=_NOBODY | documented(503))
def show_user(user_id: UUID) -> UserOut:
    """The stored user."""
    with app.transaction() as tx:
        user = users.get(tx.session, user_id)
    if user is None:
        raise HTTPException(404, f"no user has the id {user_id}")
    return UserOut.of(user)
