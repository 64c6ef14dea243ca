"""The folder in which a mail catcher keeps what it received."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from loja.mail.caught import CaughtMail, read, read_headers

SUFFIX = ".eml"
HEAD = 1 << 16
"""Bytes of a file in which its headers are looked for."""


class UnknownMail(LookupError):
    """No mail of this id is kept, or not any more."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One mail of a list; `size` is bytes."""

    id: UUID
    size: int
    mail: CaughtMail


@dataclass(frozen=True, slots=True)
class MailFolder:
    """Reads what is there; ids are UUIDv7, so their order is that of arrival."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a catcher has ever kept mail here."""
        return self.path.is_dir()

    def page(self, limit: int, before: UUID | None = None) -> tuple[list[Listed], bool]:
        """The newest mails, or those that came before another one, and whether there are older ones."""
        older = (name for name in self._ids() if before is None or name < before)
        chosen = sorted(older, reverse=True)[: limit + 1]
        return list(self._listed(chosen[:limit])), len(chosen) > limit

    def open(self, mail_id: UUID) -> CaughtMail:
        """One mail with all that is in it; raises UnknownMail."""
        return read(self.content(mail_id))

    def content(self, mail_id: UUID) -> bytes:
        """Its bytes; raises UnknownMail."""
        try:
            return self._path_of(mail_id).read_bytes()
        except FileNotFoundError:
            raise UnknownMail(f"no mail has the id {mail_id}: the newest are kept, older ones are not") from None

    def _path_of(self, mail_id: UUID) -> Path:
        return self.path / f"{mail_id}{SUFFIX}"

    def _ids(self) -> Iterator[UUID]:
        for path in self.path.glob(f"*{SUFFIX}"):
            try:
                yield UUID(path.stem)
            except ValueError:
                continue  # somebody else's file

    def _listed(self, ids: list[UUID]) -> Iterator[Listed]:
        for mail_id in ids:
            try:
                with self._path_of(mail_id).open("rb") as file:
                    head = file.read(HEAD)
                    size = file.seek(0, 2)
            except FileNotFoundError:
                continue  # dropped meanwhile, for a newer one
            yield Listed(mail_id, size, read_headers(head))
