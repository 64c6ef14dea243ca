"""The ffmpeg program: found, run to its end, and its complaints understood."""

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loja.videos.errors import EncoderBroke, FfmpegMissing, NoPicture, NotAVideo
from loja.videos.recipe import TAKEN

_KEPT = 40
_MAX_REASON = 200
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
"""What ffmpeg gets of our environment; a decoder that a file takes over must not find passwords there."""

_NOT_THE_FILE = (
    "No space left on device",
    "Cannot allocate memory",
    "Disk quota exceeded",
    "Too many open files",
    "Error writing",
    "Input/output error",
    "Read-only file system",
    "Permission denied",
)
_ENDED_BY_SIGNAL = 255
"""What ffmpeg exits with when SIGTERM or SIGINT, which it handles, ended it."""
_PREFIX = re.compile(r"^\[[^\]]*\] ")


def locate(configured: str | None) -> str:
    """The ffmpeg of the settings, of the package imageio-ffmpeg, or of PATH; raises FfmpegMissing."""
    found = configured or _packaged() or shutil.which("ffmpeg")
    if found is None or shutil.which(found) is None:
        raise FfmpegMissing(
            f"ffmpeg is not at {found}, as LOJA_FFMPEG says"
            if found
            else "there is no ffmpeg: pip install imageio-ffmpeg, install the system's, or set LOJA_FFMPEG"
        )
    return found


def _packaged() -> str | None:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped] # noqa: PLC0415 - an optional extra

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """One ffmpeg that can be run."""

    path: str

    def run(self, arguments: Sequence[str], heed: Callable[[str], None] = lambda line: None) -> None:
        """Run it to its end, and hand each line that it prints to `heed`; raises Refused or EncoderBroke.

        It is in the process group of its worker, so whatever ends that ends it too.
        """
        said: deque[str] = deque(maxlen=_KEPT)
        with subprocess.Popen(  # noqa: S603 - no shell; the paths are ours
            [self.path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            text=True,
            errors="replace",
        ) as process:
            # Beside the output: a pipe that nobody empties would stop ffmpeg for ever.
            listener = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
            listener.start()
            try:
                for line in process.stdout or ():
                    heed(line)
                process.wait()
            finally:
                process.kill()  # where a time limit, or `heed`, has raised
                listener.join()
        if process.returncode:
            raise complaint(process.returncode, list(said))


def complaint(code: int, said: Sequence[str]) -> Exception:
    """What an ffmpeg that ended with this code means by these lines."""
    text = "\n".join(said)
    if code < 0:
        return EncoderBroke(f"ffmpeg was ended by signal {-code}")
    if code == _ENDED_BY_SIGNAL:
        return EncoderBroke("ffmpeg was told to end")
    if broken := next((known for known in _NOT_THE_FILE if known in text), None):
        return EncoderBroke(f"ffmpeg could not go on: {broken}")
    if "Format not on whitelist" in text:
        return NotAVideo(f"not a video that the shop takes: it takes {TAKEN}")
    if "matches no streams" in text:
        return NoPicture("it has no video stream, only sound or text")
    return NotAVideo(f"cannot be read as a video: {_reason(said)}")


def _reason(said: Sequence[str]) -> str:
    """The first line that names no file of ours: those before the last are the nearest to the cause."""
    lines = [_PREFIX.sub("", line).strip() for line in said]
    telling = [line for line in lines if line and "file:" not in line]
    reason = (telling or ["no reason given"])[0].removeprefix("Error opening input: ")
    return "".join(mark if mark.isprintable() else "?" for mark in reason)[:_MAX_REASON]
