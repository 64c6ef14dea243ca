"""Servers that are one process, which can be frozen and killed with nothing left behind."""

import signal
from pathlib import Path

from trilho.embedded.server import Server


class SingleProcess(Server):
    """A server of one process, in the folder of its data."""

    # SIGKILL also ends a paused server; what it has acknowledged, it has given to the operating system already.
    death_signal = signal.SIGKILL

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: go on after `pause`."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End the server in an orderly way, also a paused one, and give the data folder free."""
        self.resume()
        super().stop()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _working_folder(self) -> Path:
        return self.data.resolve()
