"""Caught mail as pages. Everything in them comes from strangers, so everything is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from loja.mail.schemas import MailFile, MailOut, MailPage

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""For the HTML of a mail: no scripts, no requests to anybody, and an origin of its own."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; overflow-wrap: anywhere; }}
tr {{ border-bottom: 1px solid #ddd; }}
th {{ white-space: nowrap; font-weight: 600; }}
pre {{ background: #f2f2f2; color: #111; padding: .8rem; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
iframe {{ width: 100%; height: 34rem; border: 1px solid #ccc; border-radius: 6px; background: #fff; }}
</style>
{body}
</html>
"""


def list_page(page: MailPage) -> str:
    """The list."""
    rows = [
        (_link(mail.url, mail.subject or "(no subject)"), escape(mail.recipient), escape(mail.date), f"{mail.size:,}")
        for mail in page.items
    ]
    older = f"<p>{_link(page.next, 'Older ones')}</p>" if page.next else ""
    note = f"<p>{escape(page.note)}</p>" if page.note else _table(("Subject", "To", "Date", "Bytes"), rows)
    return _PAGE.format(title="Caught mail", body=f"<h1>Caught mail</h1>{note}{older}")


def mail_page(mail: MailOut, base: str) -> str:
    """One mail."""
    subject = next((header.value for header in mail.headers if header.name.lower() == "subject"), "") or "(no subject)"
    headers = "".join(f"<tr><th>{escape(one.name)}<td>{escape(one.value)}</tr>" for one in mail.headers)
    parts = [f"<p>{_link(base, 'All mail')}</p><h1>{escape(subject)}</h1>"]
    if mail.attachments:
        parts.append(f"<h2>Attachments</h2><ul>{''.join(map(_file, mail.attachments))}</ul>")
    if mail.html_url:
        parts.append(f'<h2>HTML</h2><iframe sandbox src="{escape(mail.html_url)}" title="HTML of the mail"></iframe>')
    if mail.text is not None:
        parts.append(f"<h2>Text</h2><pre>{escape(mail.text)}</pre>")
    parts.append(f"<h2>Headers</h2><table>{headers}</table>")
    return _PAGE.format(title=escape(subject), body="\n".join(parts))


def _file(file: MailFile) -> str:
    return f"<li>{_link(file.url, file.filename)} ({escape(file.type)}, {file.size:,} bytes)</li>"


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
