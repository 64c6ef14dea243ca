"""Routes that show caught mail."""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from loja.app import app
from loja.mail import pages
from loja.mail.box import MailFolder, UnknownMail
from loja.mail.caught import CaughtMail
from loja.mail.schemas import MailOut, MailPage, MailSummary
from trilho.http import documented

PAGE = 50
MAX_PAGE = 200
FOLDER = "mail"
NO_CATCHER = "No mail was caught: nothing here receives mail. `trilho up` runs a catcher unless TRILHO_SMTP_URL is set."
NO_MAIL = "No mail was caught yet."

_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

router = APIRouter(prefix="/mail", tags=["mail"])

MailId = Annotated[UUID, Path(description="The `id` of a mail of the list.")]


def _unknown(description: str) -> dict[int | str, dict[str, Any]]:
    return {404: {**documented(404)[404], "description": description}}


_NO_MAIL = _unknown("No mail of this id is kept, or not any more.")
_NO_PART = _unknown("No such mail is kept, or it has no such part.")
_BYTES: dict[str, Any] = {
    "description": "The attachment.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


@router.get("", summary="Caught mail", response_model=MailPage)
def list_mail(
    request: Request,
    before: Annotated[UUID | None, Query(description="Only mail that came before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
) -> Response:
    """The mail that the catcher of this machine has received, the newest first: a page for browsers, else JSON."""
    folder, base = _folder(), _base(request)
    listed, more = folder.page(limit, before)
    page = MailPage(
        items=[MailSummary.of(mail, base) for mail in listed],
        next=f"{base}?before={listed[-1].id}&limit={limit}" if more and listed else None,
        note=None if listed else NO_MAIL if folder.exists else NO_CATCHER,
    )
    return _answer(request, page, lambda: pages.list_page(page))


@router.get("/{mail_id}", summary="One caught mail", response_model=MailOut, responses=_NO_MAIL)
def show_mail(request: Request, mail_id: MailId) -> Response:
    """Headers, text, and where its HTML and attachments are: a page for browsers, else JSON."""
    mail = MailOut.of(mail_id, _opened(mail_id), _base(request))
    return _answer(request, mail, lambda: pages.mail_page(mail, _base(request)))


@router.get("/{mail_id}/html", summary="HTML of a caught mail", response_class=HTMLResponse, responses=_NO_PART)
def show_html(mail_id: MailId) -> HTMLResponse:
    """As the sender wrote it, under a policy that lets it run nothing and ask nobody."""
    mail = _opened(mail_id)
    if mail.html is None:
        raise HTTPException(404, f"the mail {mail_id} has no HTML")
    return HTMLResponse(mail.html, headers=_SAFE | {"Content-Security-Policy": pages.MAIL_POLICY})


@router.get(
    "/{mail_id}/attachments/{number}",
    summary="Attachment of a caught mail",
    response_class=Response,
    responses={200: _BYTES, **_NO_PART},
)
def download(mail_id: MailId, number: Annotated[int, Path(ge=0, le=10_000)]) -> Response:
    """Its bytes, to be saved and not shown, whatever the sender says that they are."""
    files = _opened(mail_id).files
    if number >= len(files):
        raise HTTPException(404, f"the mail {mail_id} has {len(files)} attachments")
    file = files[number]
    headers = _SAFE | {"Content-Disposition": disposition(file.filename), "Content-Security-Policy": pages.MAIL_POLICY}
    return Response(file.content, media_type="application/octet-stream", headers=headers)


def disposition(filename: str) -> str:
    """`Content-Disposition` with the name in ASCII for old clients, and as it is (RFC 6266)."""
    plain = "".join(mark if mark.isascii() and (mark.isalnum() or mark in " ._-") else "_" for mark in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _folder() -> MailFolder:
    return MailFolder(app.settings.data / FOLDER)


def _opened(mail_id: UUID) -> CaughtMail:
    try:
        return _folder().open(mail_id)
    except UnknownMail as error:
        raise HTTPException(404, str(error)) from None


def _base(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/mail"


def _answer(request: Request, model: MailPage | MailOut, page: Callable[[], str]) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(page(), headers=_SAFE | {"Content-Security-Policy": pages.PAGE_POLICY})
    return JSONResponse(model.model_dump(mode="json"), headers=_SAFE)
